"""What a tool may be asked for: types that check, schemas that every client reads, words that a model reads.

An optional text stays a plain string in the schema: `anyOf` with null is not portable across clients.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

_TEXT = WithJsonSchema({"type": "string"})
_VERSIONS = ["14", "15", "16", "17", "18"]

InstanceRef = Annotated[
    str,
    Field(
        min_length=1,
        max_length=256,
        description="The instance: its id, any unique prefix of it, its name or its container id.",
    ),
]
Version = Annotated[
    Literal["14", "15", "16", "17", "18"] | None,
    # Models like to send the number.
    BeforeValidator(lambda value: str(value) if isinstance(value, int) else value),
    WithJsonSchema({"type": "string", "enum": _VERSIONS}),
    Field(description="PostgreSQL major version. Leave it out for the default, or when `image` is given."),
]
Image = Annotated[
    str | None,
    _TEXT,
    Field(description="Any image made from the official one, such as pgvector/pgvector:pg17."),
]
Name = Annotated[
    str | None, _TEXT, Field(description="Display name, to find the instance again; else its container's.")
]
Database = Annotated[str | None, _TEXT, Field(description="Database to create; default postgres.")]
Username = Annotated[str | None, _TEXT, Field(description="Superuser to create; default postgres.")]
Password = Annotated[
    str | None, _TEXT, Field(description="Password of that user; leave it out and a random one is made.")
]
Memory = Annotated[
    str | None, _TEXT, Field(description="Memory limit such as 512m or 2g; default 512m, at least 64m.")
]
Cpus = Annotated[
    float | None,
    WithJsonSchema({"type": "number"}),
    Field(description="CPU limit in cores, such as 0.5 or 2; default 1."),
]
Extensions = Annotated[
    list[str], Field(description="Extensions to create in the database, such as hstore or vector.")
]
Settings = Annotated[
    dict[str, str],
    Field(description='PostgreSQL settings, such as {"work_mem": "64MB"}; they win over ours.'),
]
Init = Annotated[
    str | None,
    _TEXT,
    Field(
        description="Path on this machine of a .sql, .sql.gz or .sh file, or of a directory of them, to run "
        "once before the server is ready."
    ),
]
Ttl = Annotated[
    str | None,
    _TEXT,
    Field(description="Lifetime from now, such as 90s, 8h or 2d; none: as long as is allowed. Default 24h."),
]
IdleTimeout = Annotated[
    str | None,
    _TEXT,
    Field(
        description="Ends after this time without a connected client, such as 30m; none: never. Default 2h."
    ),
]
Seed = Annotated[
    str | None,
    _TEXT,
    Field(description="Name of a seed, a prepared image with data in it, to start from."),
]
BranchSource = Annotated[
    str,
    Field(min_length=1, max_length=256, description="An instance (id, prefix or name) or a snapshot's name."),
]
SnapshotRef = Annotated[str, Field(min_length=1, max_length=256, description="The snapshot: its name or id.")]
SnapshotName = Annotated[
    str | None,
    _TEXT,
    Field(description="Name to find it again, such as before-migration; else one is made up."),
]
SnapshotTtl = Annotated[
    str | None, _TEXT, Field(description="How long it is kept, such as 12h, 7d or none. Default 7d.")
]
Script = Annotated[
    str | None, _TEXT, Field(description="The migration: one or many SQL statements. Give this or `file`.")
]
ScriptFile = Annotated[
    str | None, _TEXT, Field(description="Path on this machine of a file with the SQL, instead of `sql`.")
]
Force = Annotated[bool, Field(description="Also drop the branches that stand on it.")]
Apply = Annotated[
    bool, Field(description="Then run it on the instance itself, when the rehearsal went well.")
]
Labels = Annotated[
    dict[str, str], Field(description="Labels to keep with the instance, such as a task or branch.")
]
