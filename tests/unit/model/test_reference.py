"""References: one normal form for all names of one image, and nothing read otherwise than a container runtime does."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import InputError
from controller.model.reference import MAX_REFERENCE_LENGTH, Digest, Reference, normal_host

HEX = "a" * 64
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("acme/app", "docker.io/acme/app:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("docker.io/library/nginx:latest", "docker.io/library/nginx:latest"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
        ("registry-1.docker.io/library/nginx", "docker.io/library/nginx:latest"),
        ("registry.hub.docker.com/library/nginx", "docker.io/library/nginx:latest"),
        ("DOCKER.IO/library/nginx", "docker.io/library/nginx:latest"),
        ("docker.io:443/library/nginx", "docker.io/library/nginx:latest"),
        ("docker.io/a/b/c:x", "docker.io/a/b/c:x"),
        ("ghcr.io/acme/app", "ghcr.io/acme/app:latest"),
        ("GHCR.io/acme/app", "ghcr.io/acme/app:latest"),
        ("ghcr.io:443/acme/app", "ghcr.io/acme/app:latest"),
        ("ghcr.io:0443/acme/app", "ghcr.io/acme/app:latest"),
        ("ghcr.io:80/acme/app", "ghcr.io:80/acme/app:latest"),
        ("ghcr.io:08443/acme/app", "ghcr.io:8443/acme/app:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("LOCALHOST/app", "localhost/app:latest"),
        ("localhost:443/app", "localhost/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("localhost", "docker.io/library/localhost:latest"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
        ("registry:443/app", "registry:443/app:latest"),
        ("registry:5000/app", "registry:5000/app:latest"),
        ("10.0.0.1/app", "10.0.0.1/app:latest"),
        ("[::1]/app", "[::1]/app:latest"),
        ("[::1]:443/app", "[::1]/app:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("[FD00:0:0::1]:5000/app", "[fd00::1]:5000/app:latest"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"ghcr.io/acme/app:1.2@{DIGEST}", f"ghcr.io/acme/app:1.2@{DIGEST}"),
        ("a.b/c__d/e-f/g--h/i.j:T_1.x-y", "a.b/c__d/e-f/g--h/i.j:T_1.x-y"),
    ],
)
def test_every_name_of_an_image_has_one_normal_form(text: str, normal: str) -> None:
    reference = Reference.parse(text)
    assert str(reference) == normal
    assert reference.text == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        " nginx",
        "nginx ",
        "nginx\n",
        "nginx\nrecord",
        "Nginx",
        "acme/App",
        "/nginx",
        "nginx/",
        "ghcr.io/",
        "ghcr.io//app",
        "ghcr.io/acme/..",
        "foo.bar/..",
        "foo.bar/.",
        "foo..bar/app",
        "ghcr.io./acme/app",
        ".ghcr.io/acme/app",
        "-ghcr.io/acme/app",
        "ghcr.io-/acme/app",
        "ghcr_x.io/acme/app",
        "ghcr.io/acme/app:",
        "ghcr.io/acme/app:-x",
        "ghcr.io/acme/app:a/b",
        f"ghcr.io/acme/app:{'t' * 129}",
        "ghcr.io:/acme/app",
        "ghcr.io:x/acme/app",
        "ghcr.io:0/acme/app",
        "ghcr.io:65536/acme/app",
        "ghcr.io:00000000000443/acme/app",
        "ghcr.io:+443/acme/app",
        "user@ghcr.io/acme/app",
        "https://ghcr.io/acme/app",
        "[::1/app",
        "[::g]/app",
        "[:::]/app",
        "[1:2:3]/app",
        "[fe80::1%25eth0]/app",
        "ghcr.io/acme/app@",
        "ghcr.io/acme/app@sha256:",
        f"ghcr.io/acme/app@sha256:{'A' * 64}",
        f"ghcr.io/acme/app@sha256:{'a' * 63}",
        f"ghcr.io/acme/app@sha256:{'a' * 65}",
        f"ghcr.io/acme/app@sha512:{'a' * 128}",
        f"ghcr.io/acme/app@{DIGEST}@{DIGEST}",
        f"ghcr.io/acme/app@{DIGEST}\n",
        f"@{DIGEST}",
        "doc\u212aer.io/library/nginx",  # a Kelvin sign is a `k` in lower case
        "ghcr.io/acme/\uff41pp",
        "ghcr.\u0131o/acme/app",
        "ghcr.io/acme/app:\u0661",
        "ghcr.io:\u0664\u0664\u0663/acme/app",
        f"ghcr.io/{'a' * 260}",
        "a" * (MAX_REFERENCE_LENGTH + 1),
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        Reference.parse(text)
    assert caught.value.code in {"ReferenceMalformed", "DigestMalformed"}
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("text", ["Acme/app", "ACME/app:1", "aCme/app@" + DIGEST, "Registry/app"])
def test_a_host_told_only_by_its_capitals_is_not_made_another_images_name(text: str) -> None:
    with pytest.raises(InputError, match="ReferenceMalformed"):
        Reference.parse(text)


@pytest.mark.parametrize("text", [DIGEST, "sha256:abc", "sha512:" + "b" * 128, "sha384:" + "c" * 96, HEX])
def test_the_id_of_an_image_that_a_node_holds_is_no_name_of_one(text: str) -> None:
    """containerd runs `image: sha256:<id>` from what the node has, so no registry's answer says anything about it."""
    with pytest.raises(InputError, match="ReferenceIsImageId"):
        Reference.parse(text)


def test_an_image_named_like_an_algorithm_is_still_a_name() -> None:
    assert str(Reference.parse("ghcr.io/acme/sha256:abc")) == "ghcr.io/acme/sha256:abc"
    assert str(Reference.parse("sha256")) == "docker.io/library/sha256:latest"


@pytest.mark.parametrize("text", ["", "sha256", HEX, f"sha256:{HEX} ", f"SHA256:{HEX}", f"sha512:{HEX * 2}"])
def test_what_is_no_sha256_digest_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="DigestMalformed"):
        Digest.parse(text)


def test_a_digest_is_that_of_the_content() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # FIPS 180-4 of nothing
    assert str(Digest.of(b"")) == f"sha256:{empty}"
    assert Digest.parse(f"sha256:{empty}") == Digest.of(b"")


label = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
component = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
host = st.one_of(
    st.just(""),
    st.just("localhost/"),
    st.builds(lambda labels: ".".join(labels) + "/", st.lists(label, min_size=2, max_size=3)),
    st.builds(lambda name, port: f"{name}:{port}/", label, st.integers(1, 65535)),
    st.builds(
        lambda zeros, labels: f"{'.'.join(labels)}:{'0' * zeros}443/", st.integers(0, 3), st.lists(label, min_size=2)
    ),
    st.builds(lambda address: f"[{address}]/", st.ip_addresses(v=6).map(lambda a: a.exploded)),
)
ending = st.one_of(st.just(""), st.just(":1.0"), st.just(f"@{DIGEST}"), st.just(f":v1@{DIGEST}"))
names = st.builds(
    lambda h, path, end: h + "/".join(path) + end, host, st.lists(component, min_size=1, max_size=3), ending
)


@given(names)
def test_the_normal_form_is_read_as_itself(text: str) -> None:
    """What is pinned into the pod must be what was resolved: no name may become another by being written out."""
    reference = Reference.parse(text)
    again = Reference.parse(str(reference))
    assert (again.registry, again.repository, again.tag, again.digest) == (
        reference.registry,
        reference.repository,
        reference.tag,
        reference.digest,
    )
    pinned = Reference.parse(reference.pinned(Digest(HEX)))
    assert (pinned.name, pinned.tag, pinned.digest) == (reference.name, reference.tag, Digest(HEX))


@given(names, st.sampled_from([str.upper, str.title]))
def test_a_host_is_the_same_however_it_is_capitalised(text: str, change: object) -> None:
    first, slash, rest = text.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        assert str(Reference.parse(change(first) + slash + rest)) == str(Reference.parse(text))  # type: ignore[operator]


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InputError:
        return
    assert reference.name.isascii()
    assert reference.tag or reference.digest
    assert Reference.parse(str(reference)).name == reference.name


@given(st.text(alphabet="aA.:[]0149-*/", max_size=20))
def test_the_normal_form_of_a_host_is_stable(written: str) -> None:
    assert normal_host(normal_host(written)) == normal_host(written)
