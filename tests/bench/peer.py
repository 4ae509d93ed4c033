"""The peer: what a user would write by hand in an afternoon, to take callbacks and delete the files later.

Flask, one SQLAlchemy session and one commit per request, under gunicorn with threads. Its database survives the same
troubles as ours does: WAL with SQLite's default of a sync per commit, PostgreSQL as it comes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask, abort, request
from sqlalchemy import create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

SECRET = os.environ["PEER_SECRET"]
URL = os.environ["PEER_DATABASE_URL"]
KEEP = timedelta(days=30)


class Base(DeclarativeBase):
    pass


class Recording(Base):
    __tablename__ = "peer_recordings"

    app_id: Mapped[str] = mapped_column(primary_key=True)
    file_id: Mapped[str] = mapped_column(primary_key=True)
    stream: Mapped[str] = mapped_column(index=True)
    replay_url: Mapped[str]
    ended_at: Mapped[datetime]
    delete_after: Mapped[datetime] = mapped_column(index=True)
    received_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(default="scheduled")


is_sqlite = URL.startswith("sqlite")
insert: Any = sqlite.insert if is_sqlite else postgresql.insert
engine = create_engine(URL, pool_size=16, connect_args={"timeout": 30} if is_sqlite else {})

if is_sqlite:

    @event.listens_for(engine, "connect")
    def use_wal(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")


app = Flask(__name__)


@app.post("/zego/callback")
def receive() -> str:
    fields = json.loads(request.get_data())
    parts = sorted([SECRET, str(fields["timestamp"]), str(fields["nonce"])])
    if not hmac.compare_digest(hashlib.sha1("".join(parts).encode()).hexdigest(), fields["signature"]):  # noqa: S324
        abort(401)
    now, ended_at = datetime.now(UTC), datetime.fromtimestamp(int(fields["end_time"]), UTC)
    facts = {
        "stream": fields["stream_alias"],
        "replay_url": fields["replay_url"],
        "ended_at": ended_at,
        "delete_after": ended_at + KEEP,
    }
    file_id = json.loads(fields["extra_params"])["FileID"]
    row = insert(Recording).values(app_id=fields["appid"], file_id=file_id, received_at=now, state="scheduled", **facts)
    with Session(engine) as session:
        session.execute(row.on_conflict_do_update(index_elements=["app_id", "file_id"], set_=facts))
        session.commit()
    return "1"
