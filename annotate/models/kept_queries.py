"""Statements that are put together once and run many times, each time with other values.

For the few that run at every answer of everybody: putting a query together takes the ORM several times as long as running it
takes the database. They are written as all others are, with `Given` where a value comes in:

    _leases = KeptQuery(lambda: Assignment.objects.filter(annotator=Given("annotator", int)).order_by("leased_at"))
    _leases.first(annotator=7)

What is fixed stands in the statement itself, so that the indexes made for it are found. PostgreSQL keeps the plans, too.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, models
from django.db.models.expressions import Expression
from django.db.models.query import ModelIterable, get_related_populators
from django.db.models.sql import UpdateQuery

FIELDS = {int: models.BigIntegerField, float: models.FloatField, UUID: models.UUIDField, datetime: models.DateTimeField}


class Given(Expression):
    """A value that comes with each run, by its name."""

    def __init__(self, name: str, kind: type) -> None:
        super().__init__(output_field=FIELDS.get(kind, models.TextField)())
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        return "%s", [self]


class Statement:
    """SQL with the places where values go."""

    def __init__(self, sql: str, parameters: tuple[Any, ...]) -> None:
        texts = sql.split("%s")
        assert len(texts) == len(parameters) + 1, sql
        self.slots: list[Any] = []
        self.sql = texts[0]
        for parameter, text in zip(parameters, texts[1:], strict=True):
            self.sql += self._fixed(parameter) + text

    def _fixed(self, parameter: Any) -> str:
        """Words and numbers of our own as they are written in SQL; everything else comes with a run."""
        match parameter:
            case bool():
                return str(parameter).lower() if connection.vendor == "postgresql" else str(int(parameter))
            case int():
                return str(parameter)
            case str() if parameter.isalnum():
                return f"'{parameter}'"
        self.slots.append(parameter)
        return "%s"

    def run(self, values: dict[str, Any]) -> Any:
        """An open cursor."""
        return execute(self.sql, [self._filled(slot, values) for slot in self.slots])

    def _filled(self, slot: Any, values: dict[str, Any]) -> Any:
        return slot.output_field.get_db_prep_value(values[slot.name], connection) if isinstance(slot, Given) else slot


def execute(sql: str, parameters: list[Any]) -> Any:
    """Runs what is the same each time but for its parameters, and returns the cursor. PostgreSQL prepares it (see settings)."""
    if connection.vendor != "postgresql" or connection.queries_logged:  # a prepared one would stand in the log without its text
        cursor = connection.cursor()
    else:
        from django.db.backends.postgresql.base import ServerBindingCursor

        connection.close_if_health_check_failed()
        connection.ensure_connection()
        with connection.wrap_database_errors:
            cursor = connection._prepare_cursor(ServerBindingCursor(connection.connection))
    cursor.execute(sql, parameters)
    return cursor


class KeptQuery:
    """A QuerySet, of rows or of `values_list`, that `build` makes once for each kind of database."""

    def __init__(self, build: Callable[[], models.QuerySet]) -> None:
        self.build = build
        self.made: dict[str, tuple[Statement, Callable[[Any], list[Any]]]] = {}

    def all(self, **values: Any) -> list[Any]:
        statement, read = self.made.get(connection.vendor) or self._make()
        with statement.run(values) as cursor:
            return read(cursor.fetchall())

    def first(self, **values: Any) -> Any:
        """None when there is no row. The query says by itself that it wants no more than one ([:1])."""
        return next(iter(self.all(**values)), None)

    def _make(self) -> tuple[Statement, Callable[[Any], list[Any]]]:
        queryset = self.build()
        compiler = queryset.query.get_compiler(connection=connection)
        statement = Statement(*compiler.as_sql())
        is_rows = issubclass(queryset._iterable_class, ModelIterable)
        self.made[connection.vendor] = statement, (_reading_rows if is_rows else _reading_values)(compiler)
        return self.made[connection.vendor]


def _reading_values(compiler: Any) -> Callable[[Any], list[Any]]:
    """As Django's ValuesListIterable reads them."""
    converters = compiler.get_converters([selected[0] for selected in compiler.select])
    return lambda rows: [tuple(row) for row in compiler.apply_converters(rows, converters)] if converters else list(rows)


def _reading_rows(compiler: Any) -> Callable[[Any], list[Any]]:
    """As Django's ModelIterable reads them, with `select_related` and annotations."""
    values = _reading_values(compiler)
    model, fields = compiler.klass_info["model"], compiler.klass_info["select_fields"]
    start, end = fields[0], fields[-1] + 1
    names = [selected[0].target.attname for selected in compiler.select[start:end]]
    populators = get_related_populators(compiler.klass_info, compiler.select, connection.alias)

    def read(rows: Any) -> list[Any]:
        found = []
        for row in values(rows):
            each = model.from_db(connection.alias, names, row[start:end])
            for populator in populators:
                populator.populate(row, each)
            for name, column in compiler.annotation_col_map.items():
                setattr(each, name, row[column])
            found.append(each)
        return found

    return read


class KeptUpdate:
    """`build` gives the rows to change, and their new values. `run` says how many there were."""

    def __init__(self, build: Callable[[], tuple[models.QuerySet, dict[str, Any]]]) -> None:
        self.build = build
        self.made: dict[str, Statement] = {}

    def run(self, **values: Any) -> int:
        statement = self.made.get(connection.vendor) or self._make()
        with statement.run(values) as cursor:
            return cursor.rowcount

    def _make(self) -> Statement:
        rows, new = self.build()
        update = rows.query.chain(UpdateQuery)
        update.add_update_values(new)
        update.annotations = {}
        self.made[connection.vendor] = Statement(*update.get_compiler(connection=connection).as_sql())
        return self.made[connection.vendor]


def insert(row: models.Model) -> bool:
    """Adds the row, with the id that the database gives it. False, and nothing added, if a unique constraint forbids it."""
    meta = row._meta
    fields = [field for field in meta.concrete_fields if not isinstance(field, models.AutoField)]
    quote = connection.ops.quote_name
    columns, places = ", ".join(quote(field.column) for field in fields), ", ".join(["%s"] * len(fields))
    into = f"INSERT INTO {quote(meta.db_table)} ({columns}) VALUES ({places})"
    sql = f"{into} ON CONFLICT DO NOTHING RETURNING {quote(meta.pk.column)}"
    with execute(sql, [field.get_db_prep_save(field.pre_save(row, True), connection) for field in fields]) as cursor:
        found = cursor.fetchone()
    if found:
        row.pk = row.pk or found[0]
        row._state.adding, row._state.db = False, connection.alias
    return bool(found)
