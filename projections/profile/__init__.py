"""One row a person: the latest word on each field across their records. Personal data; schema `pii`."""
