"""What an administrator calls now and then."""

from datetime import datetime, timedelta, timezone

import tethys_sdk.jobs as tj

from .app import App


def failed():
    """Runs that have failed, the newest first."""
    return tj.TethysJob.objects.filter(label=App.package, _status__in=["ERR", "ABT"]).order_by("-id")


def remove_old(days):
    """Deletes what is older than some days, and over; how many there were."""
    before = datetime.now(timezone.utc) - timedelta(days=days)
    old = tj.TethysJob.objects.filter(label=App.package, creation_time__lt=before)
    return old.exclude(_status__in=["PEN", "SUB", "RUN", "VAR"]).delete()[0]
