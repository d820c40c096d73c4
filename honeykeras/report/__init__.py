"""The report: an evaluation as a JSON document with a documented, versioned schema."""

from honeykeras.report.document import SCHEMA_VERSION, environment, make, schema, write

__all__ = ["SCHEMA_VERSION", "environment", "make", "schema", "write"]
