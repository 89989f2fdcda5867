"""A bound on the memory of this process."""

import resource


def bound(megabytes: int) -> None:
    """From now on the process gets no more memory than so many times 10^6 bytes.

    What asks for more fails by itself: DuckDB does not count all that its text functions make, so that one query could
    take the machine down. Counted are private writable mappings (`RLIMIT_DATA`, Linux 4.7 or later). A lower bound set
    from outside stays.
    """
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = megabytes * 1_000_000
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))
