"""A token check as a service would write it itself: FastAPI, and one query of PostgreSQL for each request."""

import contextlib
import hashlib
import os
from typing import Annotated

import asyncpg
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

_QUERY = """
    SELECT workspace, resource, scopes FROM token
    WHERE digest = $1 AND revoke_time IS NULL AND expire_time > now()
"""


@contextlib.asynccontextmanager
async def _lifespan(app):
    connections = int(os.environ["CONNECTIONS"])
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=connections, max_size=connections) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=_lifespan, openapi_url=None)
_bearer = HTTPBearer()


@app.get("/check")
async def check(
    request: Request,
    resource: str,
    scope: str,
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(_bearer)],
):
    """Returns whom the token belongs to. 401 if it does not work, 403 if it does not permit the request."""
    digest = hashlib.sha256(credentials.credentials.encode()).digest()
    row = await request.app.state.pool.fetchrow(_QUERY, digest)
    if row is None:
        raise HTTPException(401, "the token is unknown, revoked or expired")
    is_covered = resource == row["resource"] or resource.startswith(row["resource"] + "/")
    if not is_covered or scope not in row["scopes"]:
        raise HTTPException(403, "the token does not permit this request")
    return {"decision": "ALLOW", "workspace": row["workspace"], "scopes": row["scopes"]}
