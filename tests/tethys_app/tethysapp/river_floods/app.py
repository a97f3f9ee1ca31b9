from tethys_sdk.base import TethysAppBase
from tethys_sdk.app_settings import SchedulerSetting


class App(TethysAppBase):
    """
    Tethys app class for River Floods.
    """

    name = "River Floods"
    description = "How high a river rises, for rain that has fallen or may fall."
    package = "river_floods"  # WARNING: Do not change this value
    index = "home"
    icon = f"{package}/images/icon.png"
    root_url = "river-floods"
    color = "#2c5d7c"
    tags = '"Hydrology"'
    enable_feedback = False
    feedback_emails = []

    def scheduler_settings(self):
        """
        The schedulers of the app.
        """
        return (
            SchedulerSetting(
                name="pool",
                description="HTCondor pool on which the model runs.",
                engine=SchedulerSetting.HTCONDOR,
                required=True,
            ),
            SchedulerSetting(
                name="cluster",
                description="Dask cluster for statistics over many runs.",
                engine=SchedulerSetting.DASK,
                required=False,
            ),
        )
