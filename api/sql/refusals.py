"""How SQL says no, each with its status and stable code."""


class QueryRefused(Exception):
    """Not a single SELECT over the views, or DuckDB cannot make sense of it."""

    status = 400
    code = "query-refused"


class PersonalData(QueryRefused):
    """It reads what the caller's role may not see."""

    status = 403
    code = "personal-data"


class QueryTooLong(QueryRefused):
    """It was stopped when its time was over."""

    status = 422
    code = "query-too-long"


class QueryTooBig(QueryRefused):
    """It needs more memory, or more room on disk for its intermediate results, than queries have."""

    status = 422
    code = "query-too-big"


class AnswerTooLarge(QueryRefused):
    """The answer has more rows or bytes than the caller may take."""

    status = 422
    code = "answer-too-large"


class NotAcceptable(QueryRefused):
    """Nothing the caller accepts can be written here."""

    status = 406
    code = "not-acceptable"


class QueriesBusy(Exception):
    """As many queries run as may."""
