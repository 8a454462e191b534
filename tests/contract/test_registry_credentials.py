"""Credentials from the kubelet's credential provider plugins: real processes, asked and answered as KEP-2133 says."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import uvloop

from controller import telemetry
from controller.errors import AccessDenied, NotFound, Unavailable
from controller.model.access import ANONYMOUS, Credential, RegistryAccess
from controller.registry import providers
from controller.settings import Seconds
from tests.contract.registry_servers.clients import Monotonic, client, ref, soon
from tests.contract.registry_servers.plugins import API, Plugin
from tests.contract.registry_servers.scripted import ScriptedRegistry, Users
from tests.support.processes import wait_until

APP = "acme/app"
SECRET = "SECRET-OF-THE-PLUGIN"
PRIVATE = Users({"node": SECRET, "pod": "pods"}, bearer=False)


def pull_secret(server: ScriptedRegistry, password: str) -> RegistryAccess:
    """What a pod brings for this host."""
    return RegistryAccess((Credential(prefix=server.host, username="pod", password=password),))


def authorizations(server: ScriptedRegistry) -> list[str | None]:
    """What each request carried."""
    return [seen.headers.get("Authorization") for seen in server.requests]


async def test_a_private_image_and_its_evidence_are_opened_by_what_the_plugin_gives(tmp_path: Path) -> None:
    async with ScriptedRegistry(users=PRIVATE) as server:
        digest = server.put_image(APP, "1.0")
        server.put_referrer(APP, digest, b"bundle")
        plugin = Plugin(tmp_path, server.host)
        plugin.answer({server.host: ("node", SECRET)})
        async with client(**plugin.settings) as registry:
            image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
            evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert str(image.digest) == digest
        assert [artifact.content for artifact in evidence.artifacts] == [b"bundle"]
        async with client(**plugin.settings) as fresh:  # as after a restart: nothing is known of who opens what
            evidence = await fresh.discover(image, access=ANONYMOUS, deadline=soon())
        assert [artifact.content for artifact in evidence.artifacts] == [b"bundle"]
        assert len(plugin.runs) == 2


@pytest.mark.guarantee(12)
async def test_a_plugin_is_asked_as_the_kubelet_asks_and_sees_nothing_else_of_assays_environment(
    tmp_path: Path,
) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HTTPS_PROXY": "http://proxy.example:3128",
        "ASSAY_DATABASE_URL": "postgresql://secret",
        "LD_PRELOAD": "",
    }
    async with ScriptedRegistry(users=PRIVATE) as server:
        server.put_image(APP, "1.0")
        plugin = Plugin(
            tmp_path, f"127.*.0.1:{server.port}", args=["--v=3", "get"], env=[{"name": "AWS_PROFILE", "value": "own"}]
        )
        plugin.answer({f"127.0.*.1:{server.port}": ("node", SECRET)})
        async with client(environment=environment, **plugin.settings) as registry:
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        (run,) = plugin.runs
        assert json.loads(run["request"]) == {
            "apiVersion": API,
            "kind": "CredentialProviderRequest",
            "image": f"{server.host}/{APP}",
        }
        assert run["arguments"] == ["--v=3", "get"]
        assert run["folder"] == "/"
        run["environment"].pop("LC_CTYPE", None)  # which Python sets for itself
        assert run["environment"] == {
            "PATH": os.environ["PATH"],
            "HTTPS_PROXY": "http://proxy.example:3128",
            "AWS_PROFILE": "own",
        }


async def test_a_pull_secret_comes_first_and_where_it_opens_no_plugin_is_run(tmp_path: Path) -> None:
    async with ScriptedRegistry(users=PRIVATE) as server:
        digest = server.put_image(APP, "1.0")
        plugin = Plugin(tmp_path, server.host)
        plugin.behave("sys.exit(1)")
        async with client(**plugin.settings) as registry:
            access = pull_secret(server, "pods")
            image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=access, deadline=soon())
            await registry.discover(image, access=access, deadline=soon())
            assert str(image.digest) == digest
        async with client(**plugin.settings) as fresh:
            await fresh.discover(image, access=access, deadline=soon())
        assert plugin.runs == []


async def test_a_pull_secret_that_does_not_open_is_followed_by_the_plugin_and_then_left_alone(tmp_path: Path) -> None:
    async with ScriptedRegistry(users=PRIVATE) as server:
        digest = server.put_image(APP, "1.0")
        server.put_referrer(APP, digest, b"bundle")
        plugin = Plugin(tmp_path, server.host)
        plugin.answer({server.host: ("node", SECRET)})
        async with client(**plugin.settings) as registry:
            access = pull_secret(server, "wrong")
            image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=access, deadline=soon())
            asked = len(server.requests)
            evidence = await registry.discover(image, access=access, deadline=soon())
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=access, deadline=soon())
        assert [artifact.content for artifact in evidence.artifacts] == [b"bundle"]
        assert len(set(authorizations(server)[asked:])) == 1
        async with client(**plugin.settings) as fresh:
            evidence = await fresh.discover(image, access=access, deadline=soon())
        assert [artifact.content for artifact in evidence.artifacts] == [b"bundle"]


@pytest.mark.parametrize("prefix", ["", "other.example", "{host}/beta", "{host}/acme/app/beta", "*.0.0.2:{port}"])
async def test_where_a_plugin_has_nothing_for_the_image_the_registry_is_asked_without(
    prefix: str, tmp_path: Path
) -> None:
    async with ScriptedRegistry(users=Users({"node": SECRET}, anonymous=True)) as server:
        digest = server.put_image(APP, "1.0")
        plugin = Plugin(tmp_path, server.host)
        written = prefix.format(host=server.host, port=server.port)
        plugin.answer({written: ("node", SECRET)} if written else None)
        async with client(**plugin.settings) as registry:
            image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert str(image.digest) == digest
        assert len(plugin.runs) == 1
        assert server.seen("/token")
        assert not any((header or "").startswith("Basic") for header in authorizations(server))


@pytest.mark.parametrize("pattern", ["{host}/beta", "127.0.0.1", "*.0.1:{port}", "127.0.0.2:{port}"])
async def test_a_plugin_is_not_run_for_an_image_that_its_patterns_do_not_mean(pattern: str, tmp_path: Path) -> None:
    async with ScriptedRegistry(users=PRIVATE) as server:
        server.put_image(APP, "1.0")
        plugin = Plugin(tmp_path, pattern.format(host=server.host, port=server.port))
        plugin.answer({server.host: ("node", SECRET)})
        async with client(**plugin.settings) as registry:
            with pytest.raises(AccessDenied):
                await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert plugin.runs == []


def response(**changes: Any) -> bytes:
    """An answer with one thing wrong."""
    auth = {"127.0.0.1": {"username": "node", "password": SECRET}}
    value = {"apiVersion": API, "kind": "CredentialProviderResponse", "cacheKeyType": "Registry", "auth": auth}
    return json.dumps(value | changes).encode()


BROKEN: dict[str, bytes | str] = {
    "nothing": b"",
    "no JSON": f'{{"password": "{SECRET}"'.encode(),
    "no UTF-8": b'{"\xff": "' + SECRET.encode() + b'"}',
    "nested without end": b"[" * 100_000,
    "no object": b"[]",
    "another kind": response(kind="CredentialProviderRequest"),
    "another version": response(apiVersion="credentialprovider.kubelet.k8s.io/v2"),
    "another version than asked": response(apiVersion="credentialprovider.kubelet.k8s.io/v1beta1"),
    "no cacheKeyType": response(cacheKeyType=""),
    "an unknown cacheKeyType": response(cacheKeyType="Namespace"),
    "a negative duration": response(cacheDuration="-1h"),
    "a duration that is a number": response(cacheDuration=3600),
    "a duration that is none": response(cacheDuration="soon"),
    "auth that is a list": response(auth=[SECRET]),
    "a password that is no text": response(auth={"127.0.0.1": {"username": "node", "password": [SECRET]}}),
    "a password without a user": response(auth={"127.0.0.1": {"password": SECRET}}),
    "a user with a colon": response(auth={"127.0.0.1": {"username": "no:de", "password": SECRET}}),
    "a status": f"print({response().decode()!r}); print({SECRET!r}, file=sys.stderr); sys.exit(3)",
    "a signal": "os.kill(os.getpid(), 9)",
    "too much": f"sys.stdout.write({SECRET!r} * 100_000)",
    "too much without end": f"while True: sys.stdout.write({SECRET!r} * 1000)",
}


@pytest.mark.guarantee(6)
@pytest.mark.guarantee(10)
@pytest.mark.guarantee(12)
@pytest.mark.parametrize("what", BROKEN)
async def test_a_plugin_that_fails_is_an_error_and_never_an_anonymous_pull(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with ScriptedRegistry() as server:  # which anybody may read
        server.put_image(APP, "1.0")
        plugin = Plugin(tmp_path, server.host)
        broken = BROKEN[what]
        if isinstance(broken, bytes):
            plugin.write(broken)
        else:
            plugin.behave(broken)
        before = telemetry.CREDENTIAL_PROVIDER_FAILURES.labels(plugin.name)._value.get()
        async with client(**plugin.settings) as registry:
            with pytest.raises(Unavailable, match="CredentialProviderFailed") as caught:
                await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert server.requests == []
        assert len(plugin.runs) == 1
        assert ("MAX_OUTPUT_BYTES" in caught.value.message) is what.startswith("too much")
        assert telemetry.CREDENTIAL_PROVIDER_FAILURES.labels(plugin.name)._value.get() == before + 1
    logging.getLogger("test").warning("told", exc_info=caught.value)
    trace = telemetry._TextFormatter().format(caplog.records[-1])
    assert "test-provider" in caught.value.message
    for shown in (str(caught.value), trace, caplog.text.partition("told")[0], *capfd.readouterr()):
        assert SECRET not in shown


async def test_evidence_is_not_looked_for_anonymously_where_a_plugin_fails(tmp_path: Path) -> None:
    """Without an image resolved before, as after a restart: a private place would look empty."""
    async with ScriptedRegistry() as server:
        server.put_image(APP, "1.0")
        plugin = Plugin(tmp_path, server.host)
        async with client() as unaided:
            image = await unaided.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        asked = len(server.requests)
        plugin.behave("sys.exit(1)")
        async with client(**plugin.settings) as registry:
            with pytest.raises(Unavailable, match="CredentialProviderFailed"):
                await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert len(server.requests) == asked


async def test_a_plugin_that_is_gone_is_an_error_and_never_an_anonymous_pull(tmp_path: Path) -> None:
    async with ScriptedRegistry() as server:
        server.put_image(APP, "1.0")
        plugin = Plugin(tmp_path, server.host)
        async with client(**plugin.settings) as registry:
            plugin.executable.write_text("no script at all")
            with pytest.raises(Unavailable, match="CredentialProviderFailed"):
                await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
            plugin.executable.unlink()
            with pytest.raises(Unavailable, match="CredentialProviderFailed"):
                await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert server.requests == []


@pytest.mark.parametrize("apart", [False, True], ids=["in its group", "in a session of its own"])
async def test_a_plugin_that_does_not_end_is_ended_with_what_it_started(apart: bool, tmp_path: Path) -> None:
    async with ScriptedRegistry() as server:
        server.put_image(APP, "1.0")
        plugin = Plugin(tmp_path, server.host)
        plugin.behave(f"""
import time
child = os.fork()
if child == 0 and {apart}:
    os.setsid()
if child:
    with open(os.path.join(folder, "processes"), "w") as file:
        file.write(f"{{os.getpid()}} {{child}}")
time.sleep(600)
""")
        async with client(registry_credential_provider_timeout=Seconds(5), **plugin.settings) as registry:
            with pytest.raises(Unavailable, match="registry_credential_provider_timeout"):
                await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert server.requests == []
        parent, child = map(int, (tmp_path / "processes").read_text().split())
        with pytest.raises(ProcessLookupError):
            os.kill(parent, 0)
        if apart:
            os.kill(child, 9)  # what left its group is nobody's to end, and was not waited for
        else:
            wait_until(lambda: not alive(child), what="the killed child is gone")  # a signal takes its time


async def test_a_plugin_that_has_answered_and_does_not_end_is_ended_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with ScriptedRegistry() as server:
        server.put_image(APP, "1.0")
        plugin = Plugin(tmp_path, server.host)
        plugin.behave(f"""
import time
with open(os.path.join(folder, "process"), "w") as file:
    file.write(str(os.getpid()))
print({response().decode()!r}, flush=True)
os.close(1)
time.sleep(600)
""")
        async with client(registry_credential_provider_timeout=Seconds(5), **plugin.settings) as registry:
            with pytest.raises(Unavailable, match="registry_credential_provider_timeout"):
                await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert server.requests == []
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "process").read_text()), 0)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def alive(process: int) -> bool:
    """Whether a process runs: one that was killed and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.guarantee(6)
async def test_where_a_pull_secret_is_refused_and_the_plugin_fails_nothing_is_concluded(tmp_path: Path) -> None:
    """Neither *denied* nor *not there*: the node's own credentials might open it."""
    async with ScriptedRegistry(users=PRIVATE) as server:
        server.put_image(APP, "1.0")
        plugin = Plugin(tmp_path, server.host)
        plugin.behave("sys.exit(1)")
        async with client(**plugin.settings) as registry:
            for tag, password in (("1.0", "wrong"), ("none", "pods")):
                with pytest.raises(Unavailable, match="CredentialProviderFailed"):
                    await registry.resolve(
                        ref(f"{server.host}/{APP}:{tag}"), access=pull_secret(server, password), deadline=soon()
                    )


async def test_what_a_plugin_gave_and_the_registry_refuses_is_denied_by_the_plugins_name_alone(tmp_path: Path) -> None:
    async with ScriptedRegistry(users=PRIVATE) as server:
        server.put_image(APP, "1.0")
        plugin = Plugin(tmp_path, server.host)
        plugin.answer({f"{server.host}/acme": ("node", "WRONG-WORD")})
        async with client(**plugin.settings) as registry:
            with pytest.raises(AccessDenied, match="provider test-provider") as caught:
                await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert "WRONG-WORD" not in str(caught.value)
        assert f"{server.host}/acme," not in str(caught.value)
        assert None not in authorizations(server)[1:]


@pytest.mark.parametrize(
    ("kind", "runs"), [("Image", [1, 1, 2, 3]), ("Registry", [1, 1, 1, 2]), ("Global", [1, 1, 1, 1])]
)
async def test_an_answer_serves_what_it_says_it_serves(kind: str, runs: list[int], tmp_path: Path) -> None:
    async with ScriptedRegistry(users=PRIVATE) as one, ScriptedRegistry(users=PRIVATE) as two:
        plugin = Plugin(tmp_path, one.host, two.host)
        plugin.answer({one.host: ("node", SECRET), two.host: ("node", SECRET)}, kind=kind)
        counted = []
        async with client(**plugin.settings) as registry:
            for server, name in ((one, "acme/app:1"), (one, "acme/app:2"), (one, "acme/other:1"), (two, "acme/app:1")):
                server.put_image(name.partition(":")[0], name.partition(":")[2])
                await registry.resolve(ref(f"{server.host}/{name}"), access=ANONYMOUS, deadline=soon())
                counted.append(len(plugin.runs))
        assert counted == runs


@pytest.mark.parametrize(
    ("said", "before", "after"),
    [({"cacheDuration": "10m"}, 599, 601), ({"cacheDuration": "12h0m0s"}, 43_100, 43_300), ({}, 3590, 3610)],
    ids=["the answer's", "the answer's, as Go writes it", "the configuration's"],
)
async def test_an_answer_is_kept_until_it_expires_and_then_asked_for_anew(
    said: dict[str, str], before: float, after: float, tmp_path: Path
) -> None:
    users = Users({"node": "first"}, bearer=False)
    monotonic = Monotonic()
    async with ScriptedRegistry(users=users) as server:
        digest = server.put_image(APP, "1.0")
        server.put_referrer(APP, digest, b"bundle")
        plugin = Plugin(tmp_path, server.host)
        plugin.answer({server.host: ("node", "first")}, **said)
        async with client(monotonic=monotonic, **plugin.settings) as registry:
            image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
            plugin.answer({server.host: ("node", "second")}, **said)
            monotonic.added = before
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
            assert len(plugin.runs) == 1
            users.passwords = {"node": "second"}
            monotonic.added = after
            evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
            assert [artifact.content for artifact in evidence.artifacts] == [b"bundle"]
            assert len(plugin.runs) == 2


@pytest.mark.parametrize("kind", ["Image", "Registry", "Global"])
async def test_an_answer_that_may_not_be_kept_is_not(kind: str, tmp_path: Path) -> None:
    async with ScriptedRegistry(users=PRIVATE) as server:
        server.put_image(APP, "1.0")
        plugin = Plugin(tmp_path, server.host)
        plugin.answer({server.host: ("node", SECRET)}, kind=kind, cacheDuration="0s")
        async with client(**plugin.settings) as registry:
            for number in range(1, 4):
                await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
                assert len(plugin.runs) == number


@pytest.mark.parametrize(("kind", "most"), [("Image", 21), ("Registry", 1), ("Global", 1)])
async def test_many_at_once_share_one_run(kind: str, most: int, tmp_path: Path) -> None:
    """Twenty images of one registry, each asked for by three at once: one run for what one answer serves."""
    async with ScriptedRegistry(users=PRIVATE) as server:
        plugin = Plugin(tmp_path, server.host)
        plugin.answer({server.host: ("node", SECRET)}, kind=kind)
        names = [f"acme/app{number}" for number in range(20)]
        for name in names:
            server.put_image(name, "1.0")
        async with client(**plugin.settings) as registry:
            await asyncio.gather(
                *(
                    registry.resolve(ref(f"{server.host}/{name}:1.0"), access=ANONYMOUS, deadline=soon())
                    for name in names * 3
                )
            )
        images = [json.loads(run["request"])["image"] for run in plugin.runs]
        assert len(images) <= most
        assert len(set(images)) == len(images)


async def test_nobody_is_served_by_the_answer_for_another_image(tmp_path: Path) -> None:
    """Asked all at once, before it is known that each answer is for one image only."""
    async with ScriptedRegistry(users=PRIVATE) as server:
        plugin = Plugin(tmp_path, server.host)
        plugin.behave(f"""
entry = {{json.loads(request)["image"]: {{"username": "node", "password": {SECRET!r}}}}}
kind = "CredentialProviderResponse"
print(json.dumps({{"apiVersion": {API!r}, "kind": kind, "cacheKeyType": "Image", "auth": entry}}))
""")
        names = [f"acme/app{number}" for number in range(8)]
        digests = [server.put_image(name, "1.0", mark=name) for name in names]
        async with client(**plugin.settings) as registry:
            images = await asyncio.gather(
                *(
                    registry.resolve(ref(f"{server.host}/{name}:1.0"), access=ANONYMOUS, deadline=soon())
                    for name in names
                )
            )
        assert [str(image.digest) for image in images] == digests
        assert len(plugin.runs) == len(names)


async def test_no_more_processes_run_at_once_than_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "MAX_RUNS", 2)
    async with ScriptedRegistry(users=PRIVATE) as server:
        plugin = Plugin(tmp_path, server.host)
        plugin.answer({server.host: ("node", SECRET)}, kind="Image")
        (tmp_path / "running").mkdir()
        names = [f"acme/app{number}" for number in range(12)]
        for name in names:
            server.put_image(name, "1.0")
        async with client(**plugin.settings) as registry:
            await registry.resolve(ref(f"{server.host}/{names[0]}:1.0"), access=ANONYMOUS, deadline=soon())
            plugin.behave("""
import time
running = os.path.join(folder, "running", str(os.getpid()))
open(running, "w").close()
time.sleep(0.1)
with open(os.path.join(folder, "most"), "a") as most:
    most.write(f"{len(os.listdir(os.path.join(folder, 'running')))}\\n")
os.unlink(running)
with open(os.path.join(folder, "answer"), "rb") as answer:
    sys.stdout.buffer.write(answer.read())
""")
            await asyncio.gather(
                *(
                    registry.resolve(ref(f"{server.host}/{name}:1.0"), access=ANONYMOUS, deadline=soon())
                    for name in names
                )
            )
        counted = list(map(int, (tmp_path / "most").read_text().split()))
        assert len(counted) == 11
        assert max(counted) <= 2


async def test_what_one_plugin_gave_is_used_where_another_fails(tmp_path: Path) -> None:
    async with ScriptedRegistry(users=PRIVATE) as server:
        digest = server.put_image(APP, "1.0")
        server.put_referrer(APP, digest, b"bundle")
        failing = Plugin(tmp_path / "failing", server.host, name="failing")
        failing.behave("sys.exit(1)")
        giving = Plugin(tmp_path / "giving", server.host, name="giving")
        giving.answer({server.host: ("node", SECRET)})
        config = json.loads(failing.config.read_text())
        config["providers"] += json.loads(giving.config.read_text())["providers"]
        giving.config.write_text(json.dumps(config))
        failing.executable.rename(giving.executable.parent / "failing")
        async with client(**giving.settings) as registry:
            image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
            assert str(image.digest) == digest
            async with client(**giving.settings) as fresh:
                evidence = await fresh.discover(image, access=ANONYMOUS, deadline=soon())
            assert [artifact.content for artifact in evidence.artifacts] == [b"bundle"]
            with pytest.raises(Unavailable, match="CredentialProviderFailed"):  # another's might have it
                await registry.resolve(ref(f"{server.host}/{APP}:none"), access=ANONYMOUS, deadline=soon())
        async with client(**giving.settings) as registry:
            giving.answer({server.host: ("node", "wrong")})
            with pytest.raises(Unavailable, match="CredentialProviderFailed"):
                await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())


async def test_an_image_that_is_not_there_is_not_found_whoever_asks(tmp_path: Path) -> None:
    async with ScriptedRegistry(users=PRIVATE) as server:
        server.put_image(APP, "1.0")
        plugin = Plugin(tmp_path, server.host)
        plugin.answer({server.host: ("node", SECRET)})
        async with client(**plugin.settings) as registry:
            with pytest.raises(NotFound):
                await registry.resolve(ref(f"{server.host}/{APP}:none"), access=ANONYMOUS, deadline=soon())


def test_a_plugin_is_run_on_the_event_loop_that_the_webhook_has(tmp_path: Path) -> None:
    """uvloop has transports of its own, and a process that hangs or writes too much ends there too."""

    async def ask() -> None:
        async with ScriptedRegistry(users=PRIVATE) as server:
            digest = server.put_image(APP, "1.0")
            plugin = Plugin(tmp_path, server.host)
            plugin.answer({server.host: ("node", SECRET)}, cacheDuration="0s")
            async with client(registry_credential_provider_timeout=Seconds(5), **plugin.settings) as registry:
                reference = ref(f"{server.host}/{APP}:1.0")
                image = await registry.resolve(reference, access=ANONYMOUS, deadline=soon())
                assert str(image.digest) == digest
                for behaviour in (BROKEN["too much without end"], "import time; time.sleep(600)"):
                    plugin.behave(str(behaviour))
                    with pytest.raises(Unavailable, match="CredentialProviderFailed"):
                        await registry.resolve(reference, access=ANONYMOUS, deadline=soon())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask())
