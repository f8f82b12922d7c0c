"""What to do next. Pure: no I/O, no asyncio, no clock; begin with `phases.py`."""
