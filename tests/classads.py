"""HTCondor's ads and submit descriptions, for tests without a pool.

With its bindings loaded, an ad finds a name without MY and TARGET in the other ad, too, as it does in daemons.
"""

import warnings

with warnings.catch_warnings():
    # Some versions warn that this machine has no HTCondor configuration.
    warnings.simplefilter("ignore", UserWarning)
    from htcondor2 import Submit

from classad2 import ClassAd, ExprTree

__all__ = ["ClassAd", "ExprTree", "Submit"]
