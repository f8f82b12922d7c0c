from datetime import datetime

class RefreshableCredentials:
    _expiry_time: datetime
