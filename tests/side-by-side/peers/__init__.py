"""The servers that are compared, in the order of the tables."""

from .data_stores import PointSelect, Redis
from .openbao import AuditedOpenBao, OpenBao
from .python_services import DjangoRest, FastApi
from .tokend import TokendOnPostgres, TokendOnSqlite

ALL = [TokendOnPostgres, TokendOnSqlite, OpenBao, AuditedOpenBao, FastApi, DjangoRest, Redis, PointSelect]
