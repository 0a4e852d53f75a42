"""Who is measured: a table. A peer is a command that serves on a port and passes on to an upstream."""

import importlib.util
import os
import pathlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent


@dataclass(frozen=True)
class Setup:
    """What a peer is told at its start."""

    port: int
    upstream: str  # "http://127.0.0.1:4001" or "https://…"
    ca_file: str | None  # trusts the https upstream; also in SSL_CERT_FILE
    directory: pathlib.Path  # for files of its own
    models: tuple[str, ...]  # names that it will be asked for


@dataclass(frozen=True)
class Peer:
    name: str
    about: str
    command: Callable[[Setup], list[str]] | None  # None: nothing between generator and upstream
    missing: Callable[[], str | None] = lambda: None  # why it cannot run here
    prefix: str = ""  # before the model's name
    headers: tuple[str, ...] = ()
    default: bool = True


def needs(*modules: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        absent = [module for module in modules if importlib.util.find_spec(module) is None]
        return f"{', '.join(absent)} not installed in {sys.prefix}" if absent else None

    return missing


def trio_relay(setup: Setup) -> list[str]:
    return [sys.executable, str(HERE / "trio_relay.py"), str(setup.port), setup.upstream]


def fastapi(client: str) -> Callable[[Setup], list[str]]:
    def command(setup: Setup) -> list[str]:
        return [sys.executable, str(HERE / "fastapi_relay.py"), str(setup.port), setup.upstream, client]

    return command


def penstock_program() -> str:
    return os.environ.get("PENSTOCK_BIN") or str(pathlib.Path(sys.executable).with_name("penstock"))


def penstock_config(setup: Setup) -> pathlib.Path:
    config = setup.directory / "penstock.toml"
    ca = f'ca_file = "{setup.ca_file}"\n' if setup.ca_file else ""
    config.write_text(
        f'[server]\nhost = "127.0.0.1"\nport = {setup.port}\n\n'
        f'[providers.sim]\npreset = "openai"\nbase_url = "{setup.upstream}/v1"\n{ca}',
        encoding="utf-8",
    )
    return config


def penstock(setup: Setup) -> list[str]:
    return [penstock_program(), "serve", "--config", str(penstock_config(setup))]


def penstock_missing() -> str | None:
    program = penstock_program()
    return None if shutil.which(program) else f"{program} does not exist (set PENSTOCK_BIN)"


def litellm_program() -> str:
    return os.environ.get("LITELLM_BIN") or str(pathlib.Path(sys.executable).with_name("litellm"))


def litellm(setup: Setup) -> list[str]:
    """One worker, no store, no callbacks, no retries: the least it can do."""
    config = setup.directory / "litellm.yaml"
    models = "".join(
        f"  - model_name: {model}\n    litellm_params:\n      model: openai/{model}\n"
        f"      api_base: {setup.upstream}/v1\n      api_key: sk-upstream\n"
        for model in setup.models
    )
    config.write_text(
        f"model_list:\n{models}"
        "litellm_settings:\n  num_retries: 0\n  telemetry: false\n  callbacks: []\n"
        "general_settings:\n  master_key: sk-bench\n  disable_spend_logs: true\n"
        "router_settings:\n  num_retries: 0\n  disable_cooldowns: true\n",
        encoding="utf-8",
    )
    program = ["env", "LITELLM_LOG=ERROR", "LITELLM_MODE=PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP=True"]
    program += [litellm_program(), "--config", str(config), "--host", "127.0.0.1"]
    return [*program, "--port", str(setup.port), "--num_workers", "1"]


def litellm_missing() -> str | None:
    program = litellm_program()
    return None if shutil.which(program) else f"{program} does not exist (set LITELLM_BIN)"


def nginx(setup: Setup) -> list[str]:
    """One worker, buffering off, upstream connections kept."""
    where = setup.directory
    scheme, _, authority = setup.upstream.partition("://")
    temporary = "".join(f"{kind}_temp_path {where}/{kind}; " for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    config = where / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {where}/nginx.pid; error_log {where}/error.log crit;\n"
        "worker_rlimit_nofile 16000; events { worker_connections 8000; }\n"
        f"http {{ access_log off; tcp_nodelay on; keepalive_requests 1000000000; {temporary}\n"
        f"  client_body_temp_path {where}/body; client_body_buffer_size 256k;\n"
        f"  upstream sim {{ server {authority}; keepalive 512; keepalive_requests 1000000000; }}\n"
        f"  server {{ listen 127.0.0.1:{setup.port} backlog=4096;\n"
        f"    location / {{ proxy_pass {scheme}://sim; proxy_http_version 1.1; proxy_buffering off;\n"
        '      proxy_set_header Connection ""; proxy_request_buffering off; proxy_read_timeout 600s; } } }\n',
        encoding="utf-8",
    )
    return [nginx_program() or "nginx", "-c", str(config), "-e", str(where / "error.log")]


def nginx_program() -> str | None:
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


PEERS = {
    peer.name: peer
    for peer in (
        Peer("direct", "no gateway: the upstream itself, on the gateway's core", None),
        Peer("trio-relay", "the floor: bytes from socket to socket, no HTTP", trio_relay, needs("trio")),
        Peer(
            "fastapi-aiohttp",
            "the relay people write: FastAPI, uvicorn, aiohttp",
            fastapi("aiohttp"),
            needs("fastapi", "uvicorn", "aiohttp"),
        ),
        Peer(
            "fastapi-httpx",
            "the same with httpx",
            fastapi("httpx"),
            needs("fastapi", "uvicorn", "httpx"),
        ),
        Peer("penstock", "penstock serve, one process", penstock, penstock_missing, prefix="sim/"),
        Peer(
            "litellm",
            "LiteLLM proxy, one worker, no store",
            litellm,
            litellm_missing,
            headers=("Authorization: Bearer sk-bench",),
            default=False,
        ),
        Peer(
            "nginx",
            "nginx, one worker, unbuffered",
            nginx,
            lambda: None if nginx_program() else "nginx is not installed",
            default=False,
        ),
    )
}
