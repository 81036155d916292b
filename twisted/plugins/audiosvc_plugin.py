from twisted.application.service import ServiceMaker

audiosvc = ServiceMaker(
    name="audiosvc",
    module="audiosvc.tap",
    description="plays audio for many listeners at once, as Opus packets over one Unix socket",
    tapname="audiosvc",
)
