"""Which images of a cluster nobody asks for by name any more."""

from localcluster.pruning import superseded

# As `ctr images list` prints them, cut short.
LISTED = """\
default.example/elastic/hub:dev manifest.v2+json sha256:new 396 MiB linux/amd64 inputs=1
localhost/elastic/hub:dev    manifest.v2+json sha256:new 396 MiB linux/amd64 inputs=1
registry/r@sha256:0f         manifest.v2+json sha256:own   1 MiB linux/amd64 -
sha256:11                    manifest.v2+json sha256:new 396 MiB linux/amd64 managed
sha256:22                    manifest.v2+json sha256:old 395 MiB linux/amd64 managed
""".splitlines()


def test_an_image_goes_once_another_has_its_name():
    assert superseded(LISTED) == ["sha256:22"]
    assert superseded([]) == []
