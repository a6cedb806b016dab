"""The servers that are compared, in the order of the tables."""

from .data_stores import PointSelect, Redis
from .openbao import OpenBao
from .python_services import DjangoRest, FastApi
from .tokend import TokendOnPostgres, TokendOnSqlite

ALL = [TokendOnPostgres, TokendOnSqlite, OpenBao, FastApi, DjangoRest, Redis, PointSelect]
