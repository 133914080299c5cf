"""Which rules apply to a kernel, and where each comes from."""

import pytest

from hub_service import settings
from hub_service.culling import Policy, Rules
from hub_service.culling import policy as policies
from hub_service.culling.policy import FIELDS

EVERYBODY = {
    "idleTimeout": 3600,
    "maxAge": 0,
    "connected": False,
    "warning": 300,
    "extension": 3600,
    "extensions": 3,
    "reclaimAfter": 600,
}
RULES = Rules(EVERYBODY)


def a_kernel(gpus=0, **spec):
    return {"metadata": {"name": "kernel-a"}, "spec": spec, "status": {"gpus": gpus}}


def an_object(name, **spec):
    return {"metadata": {"name": name}, "spec": spec}


def of(kernel=None, *, spec=None, template=None, gateway=None, groups=(), rules=RULES):
    return policies.of_kernel(
        kernel or a_kernel(),
        spec=spec,
        template=template,
        gateway=gateway,
        groups=groups,
        rules=rules,
    )


# All places, the strongest first: what is there for 10, 20 … seconds, and what it is called.
PLACES = {
    "the kernel's cullIdleTimeout": {"kernel": a_kernel(1, cullIdleTimeout=10)},
    "JupyterKernelSpec python": {"spec": an_object("python", culling={"idleTimeout": 20})},
    "JupyterKernelTemplate gpu": {"template": an_object("gpu", culling={"idleTimeout": 30})},
    "the settings' culling.groups.staff": {"groups": ["staff"]},
    "JupyterGateway shared": {"gateway": an_object("shared", culling={"idleTimeout": 50})},
    "the settings' culling.gpu": {},
    "the settings' culling": {},
}
GROUPS = {"staff": {"idleTimeout": 40}}


@pytest.mark.parametrize("first", range(len(PLACES)))
def test_the_order_of_places(first):
    """Each counts where none before it says anything, whatever those after it say."""
    given = {"kernel": a_kernel(1)}
    for place in list(PLACES)[first:]:
        given |= PLACES[place]
    rules = Rules(
        {**EVERYBODY, "idleTimeout": 70},
        gpu={"idleTimeout": 60} if first <= 5 else {},
        groups=GROUPS,
    )
    policy = of(**given, rules=rules)
    assert policy.idle_timeout == (first + 1) * 10
    assert policy.sources["idle_timeout"] == list(PLACES)[first]


def test_each_rule_has_an_order_of_its_own():
    policy = of(
        a_kernel(1, cullIdleTimeout=10),
        template=an_object("gpu", culling={"maxAge": 86400, "idleTimeout": 20}),
        gateway=an_object("shared", culling={"connected": True, "maxAge": 10}),
        rules=Rules(EVERYBODY, gpu={"warning": 60}),
    )
    assert (policy.idle_timeout, policy.max_age, policy.connected) == (10, 86400, True)
    assert (policy.warning, policy.extension) == (60, 3600)
    assert policy.sources.keys() == set(FIELDS.values())
    assert policy.line == (
        "idleTimeout 10 (the kernel's cullIdleTimeout); maxAge 86400 (JupyterKernelTemplate gpu); "
        "reclaimAfter 600 (the settings' culling); connected true (JupyterGateway shared); "
        "warning 60 (the settings' culling.gpu); extension 3600, extensions 3 "
        "(the settings' culling)"
    )


def test_the_kind_of_resources():
    rules = Rules(EVERYBODY, gpu={"idleTimeout": 600}, cpu={"idleTimeout": 7200})
    assert of(a_kernel(1), rules=rules).idle_timeout == 600
    assert of(a_kernel(0), rules=rules).idle_timeout == 7200
    container = {"name": "kernel", "resources": {"limits": {"nvidia.com/gpu": 1}}}
    not_admitted = {
        "metadata": {"name": "kernel-a"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    assert of(not_admitted, rules=rules).idle_timeout == 600


@pytest.mark.parametrize("never", [0, -1])
@pytest.mark.parametrize("name", ["idleTimeout", "maxAge", "reclaimAfter"])
def test_never_is_as_good_an_answer_as_any(name, never):
    policy = of(spec=an_object("python", culling={name: never}))
    assert getattr(policy, FIELDS[name]) is None
    assert policy.sources[FIELDS[name]] == "JupyterKernelSpec python"


@pytest.mark.parametrize(
    ("name", "values", "best"),
    [
        ("idleTimeout", (60, 7200), 7200),
        ("idleTimeout", (60, 0), None),
        ("maxAge", (0, 99999), None),
        ("reclaimAfter", (60, 600), 600),
        ("connected", (False, True), True),
        ("extensions", (0, 5), 5),
        ("extension", (60, 30), 60),
        ("warning", (0, 30), 30),
    ],
)
def test_the_most_generous_of_several_groups(name, values, best):
    rules = Rules(EVERYBODY, groups={"a": {name: values[0]}, "b": {name: values[1]}})
    for groups in (["a", "b"], ["b", "a"], {"a", "b", "unknown"}):
        policy = of(groups=groups, rules=rules)
        assert getattr(policy, FIELDS[name]) == best
    assert of(groups=["a"], rules=rules).sources[FIELDS[name]] == "the settings' culling.groups.a"
    assert of(groups=["c"], rules=rules).sources[FIELDS[name]] == "the settings' culling"


def test_a_gateways_two_ways_to_say_it():
    assert of(gateway=an_object("shared", cullIdleTimeout=5)).idle_timeout == 5
    both = an_object("shared", cullIdleTimeout=5, culling={"maxAge": 10})
    assert (of(gateway=both).idle_timeout, of(gateway=both).max_age) == (5, 10)


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        (Policy(), "Nothing ends it for being idle."),
        (Policy(idle_timeout=3600), "It ends after 1 h idle."),
        (
            Policy(idle_timeout=90, max_age=86400, sources={"idle_timeout": "x", "max_age": "y"}),
            "It ends after 90 s idle (by x), or at an age of 24 h (by y).",
        ),
        (
            Policy(idle_timeout=600, connected=True),
            "It ends after 10 min idle, unless a notebook is open.",
        ),
        (Policy(max_age=120), "It ends at an age of 2 min."),
    ],
)
def test_in_a_sentence(policy, sentence):
    assert policy.sentence == sentence


def test_a_kernel_whose_server_is_gone():
    ordinary = of(gateway=an_object("g", culling={"connected": True, "extensions": 2}))
    policy = policies.of_lost_server(ordinary)
    # What its user was granted before stands.
    assert (policy.idle_timeout, policy.connected, policy.warning, policy.extensions) == (
        1,
        False,
        0,
        2,
    )
    assert "server is gone" in policy.sources["idle_timeout"]


GIVEN = {"gateway": {"image": "gateway:1"}}


class TestSettings:
    def rules(self, **culling):
        return settings.parse({**GIVEN, "culling": culling}).culling.rules

    def test_by_default(self):
        assert self.rules() == Rules(EVERYBODY)

    def test_all_places(self):
        rules = self.rules(
            gpu={"idleTimeout": 600},
            cpu={"connected": True},
            groups={"staff": {"maxAge": 0}},
            warning=10,
        )
        assert (rules.gpu, rules.cpu) == ({"idleTimeout": 600}, {"connected": True})
        assert rules.groups == {"staff": {"maxAge": 0}}
        assert rules.everybody["warning"] == 10

    def test_the_service_reads_what_the_hub_was_given(self):
        given = settings.parse({**GIVEN, "culling": {"idleTimeout": 10, "gpu": {"maxAge": 5}}})
        assert settings.load(settings.dump(given)) == given

    @pytest.mark.parametrize(
        ("culling", "words"),
        [
            ({"idleTimeout": "soon"}, ["culling.idleTimeout", "'soon'"]),
            ({"idleTimeout": "60"}, ["culling.idleTimeout", "'60'"]),
            ({"idleTimeout": True}, ["culling.idleTimeout", "True"]),
            ({"idleTimeout": 10**9}, ["culling.idleTimeout", "31622400"]),
            ({"connected": "yes"}, ["culling.connected", "'yes'"]),
            ({"gpu": {"connected": 1}}, ["culling.gpu.connected", "1"]),
            ({"warning": -1}, ["culling.warning", "-1"]),
            ({"extension": 0}, ["culling.extension", "0"]),
            ({"extensions": -1}, ["culling.extensions", "-1"]),
            ({"gpu": {"idleTimeOut": 5}}, ["culling.gpu.idleTimeOut", "no such setting"]),
            ({"gpu": {"lostServerTimeout": 5}}, ["culling.gpu.lostServerTimeout"]),
            ({"groups": {"staff": {"maxAge": 1.5}}}, ["culling.groups.staff.maxAge", "1.5"]),
            ({"idleTimeout": 60, "warning": 60}, ["culling", "warning", "idleTimeout, 60 s"]),
            ({"maxAge": 60, "warning": 90}, ["culling", "warning", "maxAge, 60 s", "0 for none"]),
            ({"gpu": {"idleTimeout": 5, "warning": 9}}, ["culling.gpu", "shorter warning"]),
        ],
    )
    def test_what_cannot_be_is_refused(self, culling, words):
        with pytest.raises(settings.SettingsError) as refused:
            self.rules(**culling)
        for word in words:
            assert word in str(refused.value)
