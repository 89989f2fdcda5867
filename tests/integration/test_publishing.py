"""Copies for others: snapshots that DuckDB 1.5 and 2.0, pandas and polars open; the mirror as Parquet."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import httpx
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest

from api.cli.client import Client, RequestRefused, client_of, served
from api.cli.exporting import export
from api.failures import FileRefused
from api.generator import generate
from api.node import Node
from infra.duckdb import open_database
from infra.logging import configure
from infra.settings import Settings
from projections import rebuild, sql
from projections.publishing import Publisher, PublishingFailed
from projections.publishing.snapshot import Snapshot, existing, publish
from tests import stock
from tests.e2e.harness import ended, until
from tests.views import with_empty_views

MARK = "Mårkus-of-the-personal-data"


@contextmanager
def running(data: Path, **settings: Any) -> Iterator[tuple[Node, httpx.Client]]:
    configure("error")
    with (
        Node(Settings(data=data, port=0, **settings)) as node,
        served(node) as url,
        client_of(url, node.settings) as http,
    ):
        yield node, http


def record(node: Node, http: httpx.Client, documents: list[dict[str, Any]]) -> int:
    """Records all of them, and waits until the views hold them; the last position."""
    lines = b"\n".join(orjson.dumps(d) for d in documents)
    headers = {"Content-Type": "application/x-ndjson"}
    answer = http.post("/v1/interactions", params={"history": True}, content=lines, headers=headers).json()
    assert answer["rejected"] == 0, answer
    seq: int = node.ledger.last_seq()
    node.wait_for(seq, 60.0)
    return seq


def one_more(n: int) -> dict[str, Any]:
    document = {"type": "sourced", "candidate": {"email": f"more{n}@example.com"}, "source": "referral"}
    return document | {"occurred_at": "2026-03-01T09:30:00Z", "data": {"first_name": MARK}}


@pytest.fixture(scope="module")
def served_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, httpx.Client]]:
    # Of a file that was opened again, which no longer knows in which order its views were made.
    with running(with_empty_views(tmp_path_factory.mktemp("publishing") / "data")) as (node, http):
        record(node, http, [*generate(60, 5), one_more(0)])
        with node.projector.cursor() as own:
            own.execute("create macro probe_as_of() as coalesce(getvariable('as_of')::timestamptz, now())")
            own.execute("create macro probe_plus(a) as a + 1, (a, b) as a + b")
            own.execute("create macro probe_until(n bigint) as table select seq from events where seq <= n")
            own.execute("create macro probe_pii() as table select first_name from pii.events")
            own.execute("comment on macro probe_as_of is 'What counts as now'")
            own.execute(
                "create view probe_types as select type, count(*) as n, probe_as_of() as t from events group by 1"
            )
            own.execute("create macro probe_of_view() as table select * from probe_types")
            own.execute("comment on view probe_types is 'Events by type; it''s a view'")
            own.execute("comment on column probe_types.n is 'How many'")
            own.execute("create view probe_people as select count(*) as people from pii.profile")
            own.execute("comment on view probe_people is 'How many people'")
            own.execute("create view probe_on_top as select people + 1 as more from probe_people")
            own.execute(
                "create table probe_kinds as select i, uuid() as u, [uuid()] as us, 'b'::enum('a', 'b') as e, "
                "'{\"a\": 1}'::json as j, i::hugeint as h, 1.5::decimal(9, 2) as d, interval 1 month as v, "
                "'ff'::blob as b, {'a': [i]} as s, map {'k': i} as m, timestamp '2026-01-01' as t, null::varchar as n "
                "from range(130000) r(i)"  # more than one row group
            )
            own.execute('create table "probe odd ""name" ("a b" integer)')
        yield node, http


@pytest.fixture
def copied(served_node: tuple[Node, httpx.Client], tmp_path: Path) -> Path:
    """A snapshot of the node, taken over HTTP."""
    path = tmp_path / "rapport.duckdb"
    path.write_bytes(served_node[1].get("/v1/snapshot.duckdb", params={"fresh": True}).raise_for_status().content)
    return path


def every(table: str, columns: str = "*") -> str:
    """The rows of a table, whatever it is called."""
    return f"select {columns} from {sql.quoted(table)} order by all"  # noqa: S608 - a quoted name


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    return connection.sql(query).to_arrow_table()


def tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    return [name for (name,) in connection.execute("show tables").fetchall()]


# ── snapshots ──────────────────────────────────────────────────────────────────────────────────────


def test_a_snapshot_holds_all_of_schema_main_without_the_stored_bytes(
    served_node: tuple[Node, httpx.Client], copied: Path
) -> None:
    node, _ = served_node
    with node.projector.cursor() as own, duckdb.connect(copied, read_only=True) as file:
        for connection in (own, file):
            connection.execute("set TimeZone = 'UTC'")
            connection.execute("set variable as_of = timestamptz '2026-10-01 00:00:00Z'")
        assert set(tables(file)) == {*tables(own), "snapshot"}
        for table in set(tables(own)) - {"probe_types"}:
            open_ = "* exclude (body)" if table == "events" else "*"
            assert rows(file, every(table)).equals(rows(own, every(table, open_))), table
        types = "select type, n from probe_types order by all"
        assert file.execute(types).fetchall() == own.execute(types).fetchall()
        described = (
            "select table_name, column_name, data_type, comment from duckdb_columns() "
            "where database_name = current_database() and schema_name = 'main' and not internal "
            "and table_name <> 'snapshot' and column_name <> 'body' order by all"
        )
        assert file.execute(described).fetchall() == own.execute(described).fetchall()
        (about,) = file.execute("select seq, rapport, materialised, missing from snapshot").fetchall()
        assert about[:2] == (node.projector.checkpoint, version("rapport"))
        assert about[2] == ["compliance_policy", "engagement_model", "events", "probe_people"], "all others are views"
        assert about[3] == ["probe_pii"]
        assert file.execute("select distinct schema_name from duckdb_tables()").fetchall() == [("main",)]
        kept = file.execute("select view_name from duckdb_views() where view_name like 'probe%' order by 1").fetchall()
        assert kept == [("probe_on_top",), ("probe_types",)]
        assert file.execute("select comment from duckdb_tables() where table_name = 'probe_people'").fetchall() == [
            ("How many people",)
        ]
        assert file.execute("select probe_plus(1), probe_plus(1, 2)").fetchall() == [(2, 3)]
        assert file.execute("select count(*) from probe_until(3)").fetchall() == [(3,)]
        assert file.execute("from probe_of_view()").fetchall()
        file.execute("set variable as_of = timestamptz '2026-01-01 00:00:00Z'")
        (at,) = file.execute("select max(t) from probe_types").fetchall()[0]
        assert at.isoformat() == "2026-01-01T00:00:00+00:00"


def test_a_snapshot_holds_no_personal_data(served_node: tuple[Node, httpx.Client], copied: Path) -> None:
    """Uncompressed, so that every text in it can be searched for."""
    with duckdb.connect(copied, read_only=True) as file:
        everything = "".join(str(rows(file, every(table)).to_pylist()) for table in tables(file))
    assert "referral" in everything
    assert MARK not in everything
    assert "@example" not in everything
    assert MARK.encode() not in copied.read_bytes()


def test_duckdb_1_5_reads_every_table_and_view_of_a_snapshot(
    served_node: tuple[Node, httpx.Client], copied: Path
) -> None:
    with duckdb.connect(copied, read_only=True) as file:
        names = tables(file)
        counts = [every(name, "count(*)") for name in names]
        wanted = [[list(row) for row in file.execute(query).fetchall()] for query in counts]
    rows = [f"{every(name)} limit 3" for name in names]
    assert stock.answers(copied, *counts) == wanted
    stock.answers(copied, *rows)
    assert stock.answers(
        copied, "select probe_plus(1, 2)", "select probe_as_of() > timestamptz '2026-01-01'", "from probe_of_view()"
    )[:2] == [[[3]], [[True]]]


def test_pandas_and_polars_read_a_snapshot(copied: Path) -> None:
    with duckdb.connect(copied, read_only=True) as file:
        query = "select type, count(*) as n from events group by type order by type"
        wanted = file.execute(query).fetchall()
        assert list(file.sql(query).df().itertuples(index=False, name=None)) == wanted
        assert file.sql(query).pl().rows() == wanted
        assert pl.read_database(query, file).rows() == wanted
        assert isinstance(file.sql("from events").df(), pd.DataFrame)


def test_a_snapshot_is_made_anew_only_when_something_has_happened(served_node: tuple[Node, httpx.Client]) -> None:
    node, http = served_node
    first = http.get("/v1/snapshot.duckdb", params={"fresh": True})
    again = http.get("/v1/snapshot.duckdb", params={"fresh": True})
    tag = first.headers["etag"]
    assert (again.headers["etag"], again.content) == (tag, first.content)
    assert http.get("/v1/snapshot.duckdb", headers={"If-None-Match": f'"x", {tag}'}).status_code == 304
    seq = record(node, http, [one_more(1)])
    assert http.get("/v1/snapshot.duckdb").headers["etag"] == tag, "the newest there is"
    newer = http.get("/v1/snapshot.duckdb", params={"fresh": True})
    assert newer.headers["etag"] != tag
    assert newer.headers["rapport-seq"] == str(seq)
    assert int(newer.headers["content-length"]) == len(newer.content)
    assert http.get("/v1/snapshot.duckdb", headers={"If-None-Match": tag}).status_code == 200
    node.settings.snapshot_file.unlink()
    assert http.get("/v1/snapshot.duckdb").headers["rapport-seq"] == str(seq), "made when there is none"
    assert node.settings.snapshot_file.stat().st_mode & 0o077 == 0


def test_publishing_tells_how_far_it_is(served_node: tuple[Node, httpx.Client]) -> None:
    node, http = served_node
    seq = record(node, http, [one_more(2)])
    lines = [json.loads(line) for line in http.post("/v1/snapshots").text.splitlines()]
    progress = [line["progress"] for line in lines[:-1]]
    assert len(progress) >= 3
    assert [p["done"] for p in progress] == sorted(p["done"] for p in progress)
    assert all(0 < p["done"] <= p["total"] for p in progress)
    assert lines[-1]["snapshot"]["seq"] == seq
    assert Path(lines[-1]["snapshot"]["path"]) == node.settings.snapshot_file.absolute()


def test_a_file_that_is_open_stays_as_it_is_while_a_newer_one_takes_its_place(
    served_node: tuple[Node, httpx.Client],
) -> None:
    node, http = served_node
    before, file = node.publisher.open(fresh=True)
    seq = record(node, http, [one_more(3)])
    node.publisher.publish()
    content = file.read()
    file.close()
    assert len(content) == before.size_bytes
    assert existing(node.settings.snapshot_file).seq == seq  # type: ignore[union-attr]


def test_readers_of_many_snapshots_at_once_get_whole_files(
    served_node: tuple[Node, httpx.Client], tmp_path: Path
) -> None:
    node, http = served_node
    taken: list[int] = []

    def take(n: int) -> None:
        path = tmp_path / f"{n}.duckdb"
        path.write_bytes(http.get("/v1/snapshot.duckdb", params={"fresh": True}).content)
        found = existing(path)
        assert found is not None
        taken.append(found.seq)

    threads = [threading.Thread(target=take, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    record(node, http, [one_more(4)])
    for thread in threads:
        thread.join()
    assert len(taken) == 4


def test_sql_of_users_reaches_no_published_file(served_node: tuple[Node, httpx.Client]) -> None:
    """Refused twice: by what SQL is let through, and by a database that has no way to any file."""
    node, http = served_node
    path = node.publisher.publish().path
    inside, beside = path.as_posix(), (path.parent / "x").as_posix()
    reads = [
        *(f"from '{inside}'", f"from read_blob('{inside}')", f"from read_duckdb('{inside}')"),
        *(f"from glob('{beside}*')", f"from read_text('{path.parent}/../tokens.json')"),
        *(f"attach '{inside}' as s (read_only)", f"attach '{beside}' as s", f"export database '{beside}'"),
        *(f"copy events to '{beside}.csv'", f"copy (select 1) to '{beside}.parquet'"),
        "set enable_external_access = true",
        f"set global allowed_directories = ['{path.parent}']",
        f"set global allowed_paths = ['{inside}']",
        f"set temp_directory = '{beside}'",
    ]
    before = {entry.name for entry in path.parent.iterdir()}
    for query in reads:
        assert http.post("/v1/sql", json={"query": query}).status_code == 400, query
        with node.projector.cursor() as cursor, pytest.raises(duckdb.Error):
            cursor.execute(query).fetchall()
    assert {entry.name for entry in path.parent.iterdir()} == before


def taken(path: Path, seq: int) -> Snapshot:
    """The snapshot of `seq` or later, once it is there."""
    until(lambda: (found := existing(path)) is not None and found.seq >= seq)
    newest = existing(path)
    assert newest is not None
    return newest


def test_snapshots_come_on_an_interval(tmp_path: Path) -> None:
    with running(tmp_path / "data", snapshot_every_s=0.2) as (node, http):
        seq = record(node, http, [one_more(5)])
        path = node.settings.snapshot_file
        first, stamp = taken(path, seq), path.stat().st_mtime_ns
        threading.Event().wait(0.6)
        assert path.stat().st_mtime_ns == stamp, "nothing has happened"
        seq = record(node, http, [one_more(6)])
        assert taken(path, seq).published_at > first.published_at
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a node that has stopped."""
    data = tmp_path_factory.mktemp("stopped") / "data"
    with running(data) as (node, http):
        record(node, http, list(generate(60, 6)))
    return data


PUBLISH = """
import os, resource, signal, sys
from pathlib import Path
from infra.duckdb import open_database
from projections.publishing.snapshot import publish
database, target, step, how = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
connection = open_database(database)
steps = 0
def progress(done, total):
    global steps
    steps += 1
    if steps == step:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        size = sum(f.stat().st_size for f in target.parent.iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
if how == "full":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
publish(connection.cursor(), target, progress)
"""


def published_by_a_process(folder: Path, target: Path, step: int, how: str) -> subprocess.CompletedProcess[str]:
    return ended(PUBLISH, folder / "views.duckdb", target, step, how)


def test_a_process_killed_half_way_leaves_the_snapshot_before(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "rapport.duckdb"
    with open_database(folder / "views.duckdb") as database:
        publish(database.cursor(), target)
    before = target.read_bytes()
    for step in (1, 2, 4):
        done = published_by_a_process(folder, target, step, "kill")
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert target.read_bytes() == before
        assert len(list(tmp_path.iterdir())) > 1, "it was in the middle of it"
    with open_database(folder / "views.duckdb") as database:
        publish(database.cursor(), target)
    assert [entry.name for entry in tmp_path.iterdir()] == [target.name]
    assert existing(target) is not None


def test_a_full_disk_leaves_the_snapshot_before_and_says_so(folder: Path, tmp_path: Path) -> None:
    """A file that may grow no more, as on a full disk."""
    target = tmp_path / "rapport.duckdb"
    with open_database(folder / "views.duckdb") as database:
        publish(database.cursor(), target)
    before = target.read_bytes()
    done = published_by_a_process(folder, target, 1, "full")
    assert done.returncode == 1
    assert "PublishingFailed: the snapshot was not written" in done.stderr, done.stderr
    assert target.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [target.name]


def test_what_is_no_snapshot_is_replaced_by_one(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "rapport.duckdb"
    with open_database(folder / "views.duckdb") as database:
        for content in (b"", b"no database"):
            target.write_bytes(content)
            assert existing(target) is None
            publisher = Publisher(database.cursor, target)
            assert publisher.publish().seq > 0
        blocked = tmp_path / "file"
        blocked.write_bytes(b"")
        with pytest.raises(PublishingFailed):
            Publisher(database.cursor, blocked / "rapport.duckdb").publish()


# ── the mirror as Parquet ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def client(served_node: tuple[Node, httpx.Client]) -> Client:
    return Client(served_node[1])


def exported(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("shards", [1, 16, 256])
def test_an_export_read_back_is_the_mirror(
    served_node: tuple[Node, httpx.Client], client: Client, tmp_path: Path, shards: int
) -> None:
    node, _ = served_node
    done = export(client, tmp_path, shards, quiet=True)
    with node.projector.cursor() as own:
        mirror = own.execute("select * exclude (body) from events order by seq").fetchall()
        columns = [column[0] for column in own.description]
        counted = own.execute("select max(seq), count(*) from events").fetchall()[0]
    assert (done["until"], len(mirror)) == counted
    files = "**/*.parquet"
    with duckdb.connect() as reader:
        reader.execute("set TimeZone = 'UTC'")
        relation = reader.read_parquet(str(tmp_path / files), hive_partitioning=True)
        assert relation.columns == [*columns, "day", "shard"]
        found = reader.sql("select * exclude (day, shard) from relation order by seq").fetchall()
        assert [tuple(map(str, row)) for row in found] == [tuple(map(str, row)) for row in mirror]
        misplaced = reader.execute(
            "select count(*) from read_parquet($files, hive_partitioning = true) "
            "where day <> (recorded_at at time zone 'UTC')::date "
            "or ('0x' || shard)::int <> ('0x' || left(id::varchar, 2))::int // $width * $width",
            {"files": str(tmp_path / files), "width": 256 // shards},
        ).fetchall()
        assert misplaced == [(0,)]
    frame = pl.read_parquet(tmp_path / files, hive_partitioning=False)
    assert sorted(frame["seq"].to_list()) == [row[0] for row in mirror]
    assert frame.columns == columns
    dataset = pyarrow.dataset.dataset(tmp_path, partitioning="hive", exclude_invalid_files=True)
    assert dataset.count_rows() == len(mirror)
    parts = [pd.read_parquet(path) for path in sorted(tmp_path.glob(files))]
    assert sum(map(len, parts)) == len(mirror)
    assert MARK.encode() not in b"".join(exported(tmp_path).values())


def test_a_repeated_export_writes_what_has_grown_and_nothing_else(
    served_node: tuple[Node, httpx.Client], client: Client, tmp_path: Path
) -> None:
    node, http = served_node
    first = export(client, tmp_path, 1, quiet=True)
    assert first["written"] == first["parts"] > 0
    before = exported(tmp_path)
    assert export(client, tmp_path, 1, quiet=True)["written"] == 0
    assert exported(tmp_path) == before
    record(node, http, [one_more(7)])
    grown = export(client, tmp_path, 1, quiet=True)
    assert grown["written"] == 1
    assert len([n for n, b in exported(tmp_path).items() if before.get(n) != b and n != "manifest.json"]) == 1


def test_an_export_interrupted_anywhere_is_finished_by_the_next(
    served_node: tuple[Node, httpx.Client], client: Client, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    export(client, whole, 16, quiet=True)
    wanted = exported(whole)
    assert len(wanted) > 3
    part = tmp_path / "part"
    names = [name for name in wanted if name != "manifest.json"]
    for n, state in enumerate(("missing", "cut", "leftover", "no manifest")):
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(whole, part)
        victim = part / names[n]
        if state == "missing":
            victim.unlink()
        elif state == "cut":
            victim.write_bytes(victim.read_bytes()[:100])
        elif state == "leftover":
            victim.with_name(".events.parquet.new").write_bytes(b"half")
            victim.unlink()
        else:
            (part / "manifest.json").unlink()
        export(client, part, 16, quiet=True)
        assert exported(part) == wanted, state


def test_an_export_that_fails_half_way_keeps_what_is_whole(client: Client, tmp_path: Path, monkeypatch: Any) -> None:
    class Failing:
        def __init__(self) -> None:
            self.left = 2

        def get(self, path: str, **params: Any) -> Any:
            return client.get(path, **params)

        def stream(self, *arguments: Any, **params: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise RequestRefused("the node stopped")
            return client.stream(*arguments, **params)

    with pytest.raises(RequestRefused):
        export(Failing(), tmp_path, 256, quiet=True)  # type: ignore[arg-type]
    assert len(list(tmp_path.rglob("events.parquet"))) == 2
    export(client, tmp_path, 256, quiet=True)
    whole = tmp_path.parent / "again"
    export(client, whole, 256, quiet=True)
    assert exported(tmp_path) == exported(whole)


def test_an_export_is_never_mixed_with_another(client: Client, tmp_path: Path) -> None:
    export(client, tmp_path, 1, quiet=True)
    before = exported(tmp_path)
    with pytest.raises(FileRefused, match="by 1 shards"):
        export(client, tmp_path, 4, quiet=True)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"until": 10**9}))
    with pytest.raises(FileRefused, match="beyond this ledger"):
        export(client, tmp_path, 1, quiet=True)
    for broken in ("", "[]", "{}", '{"format": 2, "parts": {}}'):
        (tmp_path / "manifest.json").write_text(broken)
        with pytest.raises(FileRefused, match="no manifest"):
            export(client, tmp_path, 1, quiet=True)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"columns": "other"}))
    assert export(client, tmp_path, 1, quiet=True)["written"] == len(before) - 1
    assert exported(tmp_path) == before


@pytest.mark.parametrize("shards", [0, 3, -1, 512])
def test_a_number_of_shards_that_cannot_be_is_refused(client: Client, tmp_path: Path, shards: int) -> None:
    with pytest.raises(RequestRefused, match="shards"):
        export(client, tmp_path, shards, quiet=True)


def test_a_part_that_cannot_be_is_refused(served_node: tuple[Node, httpx.Client]) -> None:
    _, http = served_node
    shards = ({"shard": "01", "shards": "16"}, {"shard": "g0"}, {"shards": "3"})
    for wrong in (*shards, {"day": "2026-02-30"}, {"until": "-1"}):
        asked = {"day": "2026-03-01", "until": "1"} | wrong
        answer = http.get("/v1/export/events.parquet", params=asked)
        assert answer.status_code == 422, (wrong, answer.text)
        assert answer.json()["type"] == "urn:rapport:problem:invalid-request"


def test_an_empty_ledger_gives_a_snapshot_and_an_export_without_files(tmp_path: Path) -> None:
    with running(tmp_path / "data") as (node, http):
        snapshot = node.publisher.publish()
        assert snapshot.seq == 0
        done = export(Client(http), tmp_path / "out", 1, quiet=True)
    assert (done["parts"], done["until"]) == (0, 0)
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["manifest.json"]


def test_a_table_that_is_being_built_is_nobody_s_to_read(
    served_node: tuple[Node, httpx.Client], tmp_path: Path
) -> None:
    """Not in SQL, not in the catalogue, not in a snapshot, also when the build was left unfinished."""
    node, http = served_node
    seen = []

    def stop(view: str, done: float) -> None:
        if done > 0.5:
            there = "select count(*) from duckdb_tables() where table_name = 'journey__next'"
            with node.projector.cursor() as cursor:
                seen.append(cursor.execute(there).fetchall())
                publish(cursor, tmp_path / "copy.duckdb")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(node.projector, None, stop)
    assert seen == [[(1,)]]
    answer = http.post("/v1/sql", json={"query": "select count(*) from journey__next"})
    assert answer.status_code == 400
    assert "journey__next" not in http.get("/v1/sql/catalogue").text
    with duckdb.connect(tmp_path / "copy.duckdb", read_only=True) as file:
        assert not [name for name in tables(file) if name.endswith("__next")]
    rebuild(node.projector)
