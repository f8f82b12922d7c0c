"""What the AWS libraries raise, turned into the errors of the store port, in this one place."""

import contextlib
from collections.abc import Iterator

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from agent.aws.answers import CREDENTIALS, TRUST, Answer, judge
from agent.errors import PermanentError
from agent.store.base import StoreUnavailable


@contextlib.contextmanager
def store_errors(op: str, subject: str) -> Iterator[None]:
    """Raise the store's errors, with `op` and `subject` in them, in place of the libraries' own."""
    try:
        yield
    except ClientError as error:
        raise judge(answer(error), op, subject) from error
    except SSLError as error:
        raise StoreUnavailable(op, subject, str(error), hint=TRUST) from error
    except NoCredentialsError as error:
        raise StoreUnavailable(op, subject, "no credentials were found", hint=CREDENTIALS) from error
    except ParamValidationError as error:
        raise PermanentError(op, subject, str(error)) from error
    except (BotoCoreError, ResponseParserError, aiohttp.ClientError, OSError) as error:
        # TimeoutError is an OSError.
        raise StoreUnavailable(op, subject, str(error) or type(error).__name__) from error


def answer(error: ClientError) -> Answer:
    """Return what AWS said."""
    said = error.response.get("Error", {})
    meta = error.response.get("ResponseMetadata", {})
    return Answer(
        operation=error.operation_name,
        status=int(meta.get("HTTPStatusCode", 0)),
        code=str(said.get("Code", "")),
        message=str(said.get("Message", "")),
        request_id=str(meta.get("RequestId", "")),
    )
