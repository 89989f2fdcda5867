"""SQL for analysts: what a query may read, how much it may take, and in which form it gets its answer."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

from api.cli.client import client_of, served
from api.http.rights import RIGHTS
from api.http.roles import Role, Tokens
from api.node import Node, NodeError
from api.sql.formats import Format, accepted
from api.sql.refusals import NotAcceptable
from infra.duckdb import open_database
from infra.logging import configure
from infra.settings import Settings
from tests.views import with_empty_views

ADA = "ada@example.com"


class Asking:
    """A running node, and questions to it."""

    def __init__(self, node: Node, http: httpx.Client) -> None:
        self.node = node
        self.http = http

    def sql(
        self, query: str, role: Role | None = None, accept: str = "application/json", **more: Any
    ) -> httpx.Response:
        headers = {"Accept": accept} | self.token(role)
        return self.http.post("/v1/sql", json={"query": query} | more, headers=headers)

    def rows(self, query: str, role: Role | None = None, **more: Any) -> list[dict[str, Any]]:
        answer = self.sql(query, role, **more)
        assert answer.status_code == 200, (query, answer.text)
        found: list[dict[str, Any]] = answer.json()
        return found

    def token(self, role: Role | None) -> dict[str, str]:
        tokens = Tokens.of(self.node.settings.tokens_file)
        return {"Authorization": f"Bearer {tokens[role or Role.ANALYST]}"}


def is_problem(answer: httpx.Response, status: int, code: str) -> str:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert answer.json()["type"] == f"urn:rapport:problem:{code}", answer.text
    detail: str = answer.json()["detail"]
    assert detail
    assert "\n" not in detail
    return detail


@contextmanager
def asking(data: Path) -> Iterator[Asking]:
    configure("error")
    with (
        Node(Settings(data=with_empty_views(data), port=0)) as node,
        served(node) as url,
        client_of(url, node.settings) as http,
    ):
        yield Asking(node, http)


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    with asking(tmp_path_factory.mktemp("sql") / "data") as ask:
        documents = [
            {"type": "sourced", "candidate": {"email": ADA}, "occurred_at": "2026-01-01T00:00:00Z"}
            | {"source": "linkedin", "data": {"first_name": "Ada", "location": "Berlin"}},
            {"type": "replied", "candidate": {"email": ADA}, "occurred_at": "2026-02-01T00:00:00Z"}
            | {"channel": "email", "data": {"message": "m-1"}},
        ]
        answer = ask.http.post("/v1/interactions", json=documents, params={"history": True}).json()
        ask.node.wait_for(answer["last_seq"])
        own = ask.node.projector.cursor()
        own.execute("create macro probe_as_of() as coalesce(getvariable('as_of')::timestamptz, now())")
        own.execute("create macro probe_until(n) as table select seq from events where seq <= n")
        own.execute("create macro pii.probe_name() as 'Ada'")
        own.execute("create view probe_types as select type, count(*) as events from events group by type")
        own.execute("comment on view probe_types is 'Events by type'")
        own.execute("comment on column probe_types.events is 'How many there are'")
        own.execute("create view pii.probe_names as select first_name from pii.events")
        yield ask


LEGITIMATE = [
    "select count(*) as n from events",
    "from events select type, seq order by all limit 5",
    "table events",
    "values (1, 'a'), (2, 'b')",
    "select * from (values (1), (2)) v(x) where x > 1",
    "select type, row_number() over (partition by type order by seq) as n, lag(seq) over w from events "
    "window w as (order by seq)",
    "select type, sum(seq) over (order by seq rows between 1 preceding and current row) from events",
    "select * from events qualify row_number() over (partition by id order by seq desc) = 1",
    "with a as (select 1 as x), b as (select x + 1 as y from a) select * from a, b",
    "with events as (select 1 as seq) select * from events",
    "with recursive n as (select 1 as i union all select i + 1 from n where i < 10) select sum(i) from n",
    "with recursive t(a, b) using key (a) as (select 1, 2 union select a + 1, b from t where a < 3) from t",
    "pivot (select type, channel, seq from events) on type in ('sourced', 'replied') using count(*) group by channel",
    "from (select type, seq from events) pivot (count(*) for type in ('sourced', 'replied'))",
    "unpivot (select seq, version from events) on seq, version into name field value number",
    "select e.seq, n.n from events e, lateral (select e.seq * 2 as n) n",
    "select e.seq, d from events e, range(e.seq) r(d)",
    "select day from generate_series(timestamptz '2026-01-01 00:00:00Z', timestamptz '2026-01-05 00:00:00Z', "
    "interval 1 day) g(day)",
    "select list_transform([1, 2], lambda x: x + 1), [x for x in range(3) if x > 1], list_filter([1], lambda x: x > 1)",
    "select unnest([1, 2]) as u, unnest([{'a': 1}], recursive := true)",
    "select list(type order by seq)[1], string_agg(type, ', '), array_agg(distinct channel) from events",
    "select rule->>'$.any' as any_of, json_extract_string('{\"a\": 1}', '$.a'), json_keys('{\"a\": 1}') from events",
    "select e.key, e.value from json_each('{\"a\": 1}') e",
    "select date_trunc('month', occurred_at) as month, occurred_at at time zone 'Europe/Berlin', "
    "extract(year from occurred_at), strftime(occurred_at, '%Y-%m') from events",
    "select now() - interval 30 days, current_date, current_timestamp, timestamptz '2026-01-01 00:00:00+01', "
    "time_bucket(interval 7 days, now())",
    "select seq from events where type = any (select 'sourced') and exists (from events e where e.seq = events.seq)",
    "select (select max(seq) from events) as last",
    "select count(*) filter (where type = 'sourced'), grouping(type), type from events group by rollup (type)",
    "select type, channel, count(*) from events group by grouping sets ((type), (channel), ())",
    "select quantile_cont(seq, [0.5, 0.95]), approx_count_distinct(id), arg_max(type, seq), histogram(seq) from events",
    "select * exclude (body, hash) replace (upper(type) as type) from events",
    "select columns('.*_at') from events",
    "select * from events a join events b using (id) left join events c on c.seq = a.seq where a.seq < b.seq",
    "select * from events a semi join events b on b.seq = a.seq + 1",
    "select * from events a asof join events b on a.occurred_at >= b.occurred_at",
    "select 1 union all select 2 union select 3 except select 2 intersect select 1 order by 1 limit 3 offset 0",
    "select case type when 'sourced' then 1 else 2 end, coalesce(channel, ''), nullif(1, 2), try(1 / 0) from events",
    "select try_cast('x' as integer), '1'::decimal(10, 2), cast([1] as varchar[]), 'a'::enum('a', 'b')",
    "select upper('ä'), 'x'.upper(), regexp_extract('a1', '[0-9]'), printf('%05d', 3), lpad('7', 3, '0')",
    "select type.upper() from events",
    "select distinct on (type) type, seq from events order by type, seq",
    "select * from events using sample 1",
    "select hash(id) % 16, md5(type), random(), uuid(), sha256(type) from events",
    "from events positional join (select 1 as one)",
    "select getvariable('as_of')",
    "select probe_as_of() as at, main.probe_as_of()",
    "from probe_until(1)",
    "select * from main.probe_types",
    "show tables",
    "from (show tables) where name = 'events'",
    "describe events",
    "show events",
    "describe select 1 as one",
    "summarize events",
    "select table_name, column_name from information_schema.columns where table_name = 'events'",
    "select stddev(seq), corr(seq, version), median(seq) from events",
    "select {'a': 1}.a, map {'k': 1}['k'], struct_pack(a := 1), row(1, 2), [1, 2, 3][1:2]",
]


@pytest.mark.parametrize("query", LEGITIMATE)
def test_what_an_analyst_asks_in_earnest_is_answered(ask: Asking, query: str) -> None:
    answer = ask.sql(query)
    assert answer.status_code == 200, answer.text


HOSTILE = [
    # not one SELECT
    "",
    ";",
    "-- nothing",
    "select 1; select 2",
    "select 1; drop table events",
    "explain select 1",
    "explain analyze select 1",
    "create table x as select 1",
    "create temp table x as select 1",
    "create macro f() as 1",
    "set memory_limit = '1KB'",
    "reset all",
    "set variable as_of = now()",
    "pragma database_list",
    "call pragma_version()",
    "copy events to 'x.csv'",
    "copy (select 1) to '/tmp/x.parquet' (format parquet)",
    "attach '/tmp/x.duckdb' as x",
    "export database '/tmp/x'",
    "import database '/tmp/x'",
    "install httpfs",
    "load httpfs",
    "checkpoint",
    "prepare q as select 1",
    "execute q",
    "begin",
    "vacuum",
    "analyze",
    "delete from events",
    "insert into events default values",
    "merge into events using events e on true when matched then delete",
    "with d as (delete from events returning seq) select * from d",
    "with d as (insert into ops.checkpoint values (1, 1) returning seq) select * from d",
    "with d as (update events set seq = 0 returning seq) from d",
    "pivot events on type using count(*)",
    "select * from (pivot events on type using count(*))",
    "select $1",
    "select $as_of",
    # files, network, Python
    "select * from '/etc/passwd'",
    "select * from 'x.parquet'",
    'select * from "https://example.com/x.csv"',
    "from read_csv('/etc/passwd')",
    "from read_csv_auto('/etc/passwd')",
    "from read_text('/etc/passwd')",
    "from read_blob('/etc/passwd')",
    "from read_json('/etc/passwd')",
    "from read_ndjson_objects('/etc/passwd')",
    "from read_parquet('/etc/passwd')",
    "from parquet_metadata('/etc/passwd')",
    "from read_duckdb('/etc/passwd')",
    "from sniff_csv('/etc/passwd')",
    "from glob('/*')",
    "select * from cursor",
    "select * from request",
    "from pandas_scan(0)",
    "from python_map_function(0)",
    "with x as (select * from 'x.csv') select 1",
    "select 1 where exists (select * from read_text('/etc/hostname'))",
    "select (select content from read_text('/etc/hostname'))",
    "select 1 order by (select count(*) from glob('/*'))",
    "select 1 limit (select count(*) from glob('/*'))",
    "select * from events where id in (select file from glob('/*'))",
    "select * from events, lateral (select * from read_text(events.type))",
    # other statements inside
    "from query('select 1')",
    "from query('from pii' || '.events')",
    "from query_table('pii.events')",
    "from query_table(['events', 'pii.events'])",
    "from histogram('pii.events', first_name)",
    "from histogram_values('pii.events', first_name)",
    "from json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "select json_serialize_plan('from pii.events')",
    "select json_serialize_sql('select 1')",
    "from summary((from events))",
    "from seq_scan('events')",
    # settings, session, log, catalogues
    "select current_setting('temp_directory')",
    "select main.current_setting('temp_directory')",
    "select system.main.current_setting('temp_directory')",
    "select 'temp_directory'.current_setting()",
    "select getenv('HOME')",
    "select getvariable('other')",
    "select getvariable('as' || '_of')",
    "select current_query()",
    "select current_connection_id()",
    "select txid_current()",
    "from duckdb_settings()",
    "from duckdb_settings",
    "from duckdb_secrets()",
    "from duckdb_databases()",
    "from pragma_database_list",
    "from pragma_storage_info('pii.events')",
    "from pragma_table_info('pii.events')",
    "from duckdb_logs()",
    "from duckdb_logs_parsed('QueryLog')",
    "from duckdb_variables()",
    "from duckdb_temporary_files()",
    "from duckdb_functions()",
    "from duckdb_columns",
    "from duckdb_constraints()",
    "from sqlite_master",
    "from pg_catalog.pg_tables",
    "from pg_tables",
    "from information_schema.schemata",
    "show databases",
    "show all tables",
    "select stats(seq) from events",
    "select vector_type(seq) from events",
    "with pg_tables as (from pg_tables) from pg_tables",
    "with duckdb_columns as (select 1) select * from duckdb_columns",
    'with "duc\u212adb_columns" as (select 1) select * from duckdb_columns',
    # side effects
    "select nextval('s')",
    "select setseed(0.5)",
    "select write_log('x')",
    "select sleep_ms(10)",
    "select pg_sleep(10)",
    "select error('no')",
    "from enable_logging()",
    "from disable_profiling()",
    "from checkpoint()",
    "from force_checkpoint()",
    "from truncate_duckdb_logs()",
    # elsewhere
    "from other.main.events",
    "from temp.events",
    "from system.information_schema.tables",
    "from evnts",
    "select nothing from events",
    "selec 1",
    # more than memory
    "select repeat('x', 4000000000)",
    "select repeat('x', seq * 1000000000) from events",
    "select lpad('x', 2000000000, 'y')",
    "select range(500000000)",
    "select generate_series(1, seq * 1000000000) from events",
    "select list_resize([1], 2000000000)",
    f"select {'(' * 3000}1{')' * 3000}",
    f"select 1{' + 1' * 20_000}",
]


def test_a_query_longer_than_a_body_may_be_is_refused(ask: Asking) -> None:
    is_problem(ask.sql("select 1 -- " + "x" * 1_000_001, Role.ADMIN), 413, "too-large")


@pytest.mark.parametrize("query", HOSTILE, ids=lambda q: q[:60])
def test_what_is_no_query_over_the_views_is_refused_whatever_the_role(ask: Asking, query: str) -> None:
    for role in (None, Role.ADMIN):
        assert ask.sql(query, role).status_code in (400, 422), query
        is_problem(ask.sql(query, role), 400, "query-refused")


PERSONAL = [
    "select first_name from pii.events",
    "select first_name from PII.Events",
    'from "pii"."profile"',
    "select count(*) from pii.events",
    "select 1 where exists (from pii.events where first_name like 'A%')",
    "select (select max(first_name) from pii.events)",
    "with x as (select * from pii.events) select 1",
    "with pii as (select 1) select * from pii.events",
    "with recursive r as (select 1 as i union all select i + 1 from r, pii.events where i < 2) from r",
    "select * from events e join pii.events p using (seq)",
    "select * from events e, lateral (select first_name from pii.events p where p.seq = e.seq)",
    "select 1 union all select seq from pii.events",
    "pivot pii.events on seq in (1, 2) using count(*)",
    "from (select seq, id from pii.events) pivot (count(*) for id in ('a'))",
    "unpivot (select seq, id::varchar as id from pii.events) on id into name a value b",
    "select seq from events order by (select min(first_name) from pii.events)",
    "select seq from events limit (select count(*) from pii.events)",
    "select count(*) filter (where exists (from pii.events)) from events",
    "select sum(seq) over (partition by (select first_name from pii.events limit 1)) from events",
    "select list_transform((select list(first_name) from pii.events), lambda x: upper(x))",
    "from range((select count(*) from pii.events))",
    "select seq from events qualify row_number() over () = (select count(*) from pii.events)",
    "describe pii.events",
    "show pii.events",
    "summarize pii.events",
    "from (summarize pii.events)",
    "summarize select first_name from pii.events",
    "table pii.events",
    "from pii.probe_names",
    "select pii.probe_name()",
    "from ops.dead_letters",
    "select first_name from pii.nothing",
]


@pytest.mark.parametrize("query", PERSONAL)
def test_personal_data_is_out_of_bounds_without_the_role(ask: Asking, query: str) -> None:
    for role in (None, Role.ANALYST, Role.RECRUITER, Role.SERVICE):
        assert "compliance" in is_problem(ask.sql(query, role), 403, "personal-data")


@pytest.mark.parametrize("query", [q for q in PERSONAL if "nothing" not in q])
def test_personal_data_is_shown_to_the_roles_that_may_see_it(ask: Asking, query: str) -> None:
    for role in (Role.COMPLIANCE, Role.ADMIN):
        answer = ask.sql(query, role)
        assert answer.status_code == 200, answer.text


def test_the_personal_data_of_the_node_is_what_an_analyst_never_sees(ask: Asking) -> None:
    assert ask.rows("select first_name from pii.events where first_name is not null", Role.COMPLIANCE) == [
        {"first_name": "Ada"}
    ]
    everything = b"".join(ask.sql(f"from {row['name']}", accept="text/csv").content for row in ask.rows("show tables"))
    assert b"linkedin" in everything
    assert b"Berlin" not in everything
    assert ADA.encode() not in everything


def test_an_unknown_token_is_refused_and_never_taken_for_an_analyst(ask: Asking) -> None:
    for header in ("Bearer x", "Bearer", "Basic eDp5", "Bearer " + "é" * 43):
        refused = ask.http.post(
            "/v1/sql", json={"query": "select 1"}, headers={"Authorization": header.encode("latin-1")}
        )
        is_problem(refused, 401, "unknown-token")
        assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_tokens_are_made_once_for_their_owner_only(ask: Asking, tmp_path: Path) -> None:
    path = ask.node.settings.tokens_file
    assert path.stat().st_mode & 0o777 == 0o600
    before = json.loads(path.read_text())
    assert set(before) == set(Role)
    assert len(set(before.values())) == len(Role)
    assert all(len(token) == 43 for token in before.values()), "256 bits in base64"
    assert Tokens.of(path).role_of(before["compliance"]) is Role.COMPLIANCE
    assert json.loads(path.read_text()) == before
    older = tmp_path / "tokens.json"
    older.write_text(json.dumps({"admin": before["admin"]}))
    older.chmod(0o644)
    assert Tokens.of(older)[Role.ADMIN] == before["admin"]
    assert set(json.loads(older.read_text())) == set(Role)
    assert older.stat().st_mode & 0o777 == 0o600
    for broken in ("", "[]", "{", '{"admin": ""}', '{"admin": 1}'):
        older.write_text(broken)
        with pytest.raises(NodeError, match="move the file away"):
            Tokens.of(older)
        assert older.read_text() == broken


# ── limits ─────────────────────────────────────────────────────────────────────────────────────────


def limited(monkeypatch: pytest.MonkeyPatch, **bounds: Any) -> None:
    monkeypatch.setitem(RIGHTS, Role.ANALYST, replace(RIGHTS[Role.ANALYST], **bounds))


ENDLESS = "select count(*) from range(10000000) a, range(10000000) b where a.range * b.range % 7 = 3"


def test_a_query_that_takes_too_long_is_stopped_and_the_next_one_goes_through(
    ask: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, max_seconds=0.3)
    streaming = "select a.range from range(10000000) a, range(10000000) b where a.range * b.range % 7 = 3"
    for query in (ENDLESS, streaming, f"describe {ENDLESS} union all {ENDLESS}"):
        if not query.startswith("describe"):
            assert "longer than 0.3 s" in is_problem(ask.sql(query), 422, "query-too-long")
        assert ask.rows("select 1 as one") == [{"one": 1}]


def test_an_answer_of_too_many_rows_or_bytes_is_refused(ask: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, max_rows=1_000, max_answer_bytes=100_000)
    assert len(ask.rows("from range(1000)")) == 1_000
    assert "1,000 rows" in is_problem(ask.sql("from range(1001)"), 422, "answer-too-large")
    assert "1,000 rows" in is_problem(ask.sql("from range(10000000000)"), 422, "answer-too-large")
    for format_ in Format:
        long = ask.sql("select repeat(i::varchar || 'x', 1000) as s from range(1000) r(i)", accept=format_.value)
        assert "0 MB" in is_problem(long, 422, "answer-too-large")
    assert ask.rows("select 1 as one") == [{"one": 1}]


def test_a_query_without_memory_is_refused_and_the_node_lives_on(ask: Asking) -> None:
    """A list of more than the database's memory, which cannot go to disk."""
    whole = "select len(list(i::varchar || 'abcdefghijklmnopqrstuv')) from range(100000000) r(i)"
    assert "memory" in is_problem(ask.sql(whole), 422, "query-too-big")
    assert ask.rows("select count(*) as n from events") == [{"n": 2}]
    assert ask.node.unready() == []


def test_sorting_more_than_a_role_has_memory_for_goes_to_disk(ask: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, max_memory="16MB")
    query = "select i from (select i, hash(i) as h from range(3000000) r(i)) order by h limit 1 offset 2999999"
    assert len(ask.rows(query)) == 1


def test_what_goes_to_disk_beyond_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a fixed size, and by half of what is free. (That DuckDB keeps to its setting is not tried here.)"""
    bound = "select current_setting('max_temp_directory_size')"
    monkeypatch.setattr("infra.duckdb.database.MOST_SPILLED_MB", 1)
    with open_database(tmp_path / "x.duckdb") as database:
        assert database.execute(bound).fetchall() == [("976.5 KiB",)]


# ── forms ──────────────────────────────────────────────────────────────────────────────────────────

MANY = """
select i, uuid() as u, [uuid()] as us, 'a,"b"' as s, timestamptz '2026-01-01 00:00:00+00' as t, date '2026-01-01' as d,
    1.25 as x, sum(i) over () as big, from_hex('ff') as b, [1, 2] as l, {'a': 'ä'} as o, null as n, true as yes
from range(5000) r(i)
"""


def test_every_form_holds_the_same_rows(ask: Asking) -> None:
    arrow = pa.ipc.open_stream(ask.sql(MANY, accept=Format.ARROW.value).content).read_all()
    parquet = pyarrow.parquet.read_table(io.BytesIO(ask.sql(MANY, accept=Format.PARQUET.value).content))
    plain = ask.rows(MANY)
    cells = list(csv.DictReader(io.StringIO(ask.sql(MANY, accept="text/csv").text)))
    random = ("u", "us")
    for table in (arrow, parquet):
        assert table.num_rows == 5_000
        assert len(table["u"][0].as_py()) == 36
    assert arrow.drop(random).equals(parquet.drop(random))
    assert len(plain[0]["u"]) == len(plain[0]["us"][0]) == len(cells[0]["u"]) == 36
    without = {k: v for k, v in plain[4_999].items() if k not in random}
    assert without == {
        **{"i": 4_999, "s": 'a,"b"', "t": "2026-01-01T00:00:00+00:00", "d": "2026-01-01", "x": 1.25, "big": 12_497_500},
        **{"b": "ff", "l": [1, 2], "o": {"a": "ä"}, "n": None, "yes": True},
    }
    assert [cells[4_999][k] for k in ("i", "s", "x", "big", "b", "l", "o", "n", "yes")] == [
        *("4999", 'a,"b"', "1.25", "12497500", "ff", "[1,2]", '{"a":"ä"}', "", "true")
    ]
    assert len(cells) == 5_000
    read = [pd.read_parquet(io.BytesIO(pa_bytes(ask))), pl.read_parquet(io.BytesIO(pa_bytes(ask)))]
    for frame in read:
        assert len(frame) == 5_000
        assert isinstance(frame["u"][0], str)


def pa_bytes(ask: Asking) -> bytes:
    return ask.sql(MANY, accept=Format.PARQUET.value).content


def test_an_empty_answer_has_its_columns_in_every_form(ask: Asking) -> None:
    query = "select seq, type from events where false"
    assert ask.rows(query) == []
    assert ask.sql(query, accept="text/csv").text.strip() == '"seq","type"'
    assert pa.ipc.open_stream(ask.sql(query, accept=Format.ARROW.value).content).read_all().column_names == [
        "seq",
        "type",
    ]
    assert pyarrow.parquet.read_table(io.BytesIO(ask.sql(query, accept=Format.PARQUET.value).content)).num_rows == 0


def test_columns_of_one_name_are_told_apart(ask: Asking) -> None:
    assert ask.rows("select 1 as a, 2 as a, 3 as a_1") == [{"a": 1, "a_1": 2, "a_1_1": 3}]


def test_the_form_that_is_wanted_most_is_taken() -> None:
    arrow, parquet = Format.ARROW.value, Format.PARQUET.value
    for accept, wanted in {
        "": Format.JSON,
        "*/*": Format.JSON,
        "text/csv": Format.CSV,
        "TEXT/CSV; charset=utf-8": Format.CSV,
        "text/*": Format.CSV,
        "application/*": Format.JSON,
        f"{arrow}, application/json": Format.JSON,
        f"{arrow};q=0.9, application/json;q=0.8": Format.ARROW,
        "application/json;q=0, */*": Format.CSV,
        f"application/json;q=0, text/csv;q=0, */*;q=0.1, {arrow};q=0": Format.PARQUET,
        f"text/html, {parquet};q=0.5": Format.PARQUET,
        "application/json;q=0.1, application/*;q=0.9": Format.ARROW,
    }.items():
        assert accepted(accept) is wanted, accept
    for accept in ("text/html", "application/json;q=0", "image/*;q=1", "application/json;q=x"):
        with pytest.raises(NotAcceptable):
            accepted(accept)


def test_nothing_acceptable_is_406(ask: Asking) -> None:
    assert "text/csv" in is_problem(ask.sql("select 1", accept="text/html"), 406, "not-acceptable")
    is_problem(ask.sql("select 1", accept="application/json;q=0"), 406, "not-acceptable")


def test_what_a_form_cannot_hold_is_said(ask: Asking) -> None:
    for accept, query in {
        "application/json": "select 'infinity'::timestamptz as t",
        Format.PARQUET.value: "select interval 1 month as i",
    }.items():
        is_problem(ask.sql(query, accept=accept), 400, "query-refused")


# ── as of, and what there is ───────────────────────────────────────────────────────────────────────


def test_as_of_holds_for_one_query(ask: Asking) -> None:
    then = ask.rows("select probe_as_of() as t", as_of="2026-03-01T01:00:00+01:00")
    assert then == [{"t": "2026-03-01T00:00:00+00:00"}]
    now = ask.rows("select probe_as_of() > timestamptz '2026-10-01 00:00:00Z' as t, getvariable('as_of') as v")
    assert now == [{"t": True, "v": None}]
    is_problem(ask.http.post("/v1/sql", json={"query": "select 1", "as_of": "2026-03-01"}), 422, "invalid-request")


def test_an_answer_says_up_to_which_event_it_holds(ask: Asking) -> None:
    assert ask.sql("select max(seq) from events").headers["rapport-seq"] == "2"


def test_the_catalogue_tells_what_the_role_may_ask(ask: Asking) -> None:
    def told(role: Role | None = None, **params: str) -> dict[str, Any]:
        answer = ask.http.get("/v1/sql/catalogue", params=params, headers=ask.token(role))
        assert answer.status_code == 200, answer.text
        return {f"{item['schema']}.{item['name']}": item for item in answer.json()}

    found = told()
    assert found["main.probe_types"] | {"columns": ...} == {
        **{"schema": "main", "name": "probe_types", "kind": "view", "comment": "Events by type"},
        **{"columns": ..., "parameters": None},
    }
    assert found["main.probe_types"]["columns"][1] == {
        "name": "events",
        "type": "BIGINT",
        "comment": "How many there are",
    }
    assert (found["main.probe_until"]["kind"], found["main.probe_until"]["parameters"]) == ("table macro", ["n"])
    assert {name.split(".")[0] for name in found} == {"main"}
    assert {name.split(".")[0] for name in told(Role.COMPLIANCE)} == {"main", "pii", "ops"}
    assert list(told(name="Probe_Types")) == list(told(name="main.probe_types")) == ["main.probe_types"]
    hidden = ask.http.get("/v1/sql/catalogue", params={"name": "pii.events"}, headers=ask.token(None))
    is_problem(hidden, 404, "unknown-view")
    assert list(told(Role.ADMIN, name="pii.events")) == ["pii.events"]


def test_whatever_the_catalogue_lists_can_be_asked(ask: Asking) -> None:
    for role in (None, Role.ADMIN):
        for item in ask.http.get("/v1/sql/catalogue", headers=ask.token(role)).json():
            if item["kind"] in ("table", "view"):
                assert ask.sql(f'from "{item["schema"]}"."{item["name"]}" limit 1', role).status_code == 200, item


def test_every_open_function_of_duckdb_is_one_it_calls_free_of_side_effects() -> None:
    """The deny-list is small because the catalogue says the rest; what it lists must still be there."""
    from api.sql import catalogue

    with duckdb.connect() as database:
        open_ = catalogue.functions(database)
        effects = database.execute(
            "select distinct function_name from duckdb_functions() where has_side_effects or stability = 'VOLATILE'"
        ).fetchall()
        there = {name for (name,) in database.execute("select function_name from duckdb_functions()").fetchall()}
    assert {name for (name,) in effects} & open_ <= catalogue.CLOCK_AND_CHANCE
    assert there >= catalogue.CLOSED
    assert there >= catalogue.CLOCK_AND_CHANCE
    assert there >= catalogue.TABLE_FUNCTIONS
