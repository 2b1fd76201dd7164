"""Values of a source's types as our columns' text: exact, or told to be wrong."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from spanlake.errors import ConfigError

IDS = ("note_id", "patient_id", "encounter_id")
TEXT = (T.StringType, T.CharType, T.VarcharType, T.BinaryType, T.NullType)
PLAIN = (T.IntegralType, T.DateType, T.TimestampType, T.TimestampNTZType)
EXACT: dict[type[T.DataType], int] = {
    T.DoubleType: 2**53,
    T.FloatType: 2**24,
}  # whole numbers up to here are exact


def cast_to(name: str, column: Column, kind: T.DataType) -> tuple[Column, Column | None]:
    """Return the column as text, and a column that says what is wrong with a value (null: nothing).

    Raises ConfigError for a type that has no text, such as an array.
    """
    if isinstance(kind, TEXT):
        text = column.cast("string")
        wrong = f"rows have a {name} that is not UTF-8"
        return text, F.when(~F.is_valid_utf8(text), F.lit(wrong))
    if name != "note_text" and isinstance(kind, PLAIN):
        return column.cast("string"), None
    if name != "note_text" and isinstance(kind, (T.FractionalType, T.DecimalType)):
        return _number(name, column, kind)
    raise ConfigError(
        f"source.columns.{name}: the source's column is {kind.typeName()}, and a text is expected:"
        " map another column, or {sql: ...} that makes one of it"
    )


def _number(name: str, column: Column, kind: T.DataType) -> tuple[Column, Column | None]:
    """Return whole numbers without their point, as pandas stores ids where one is missing."""
    whole = column % 1 == 0
    exact = EXACT.get(type(kind))
    if exact is not None:
        whole = whole & (F.abs(column) <= exact)
    target = "decimal(38,0)" if exact is None else "bigint"
    text = F.when(whole, column.try_cast(target).cast("string")).otherwise(column.cast("string"))
    if name not in IDS:
        return text, None
    wrong = f"rows have a {name} ({kind.typeName()}) that is no whole number, or too large for one"
    return text, F.when(column.isNotNull() & ~whole, F.lit(wrong))
