"""The contract of Databricks Container Services: what a cluster of a runtime needs of an image, as rules.

    cluster_root    what an image's root has, as far as the contract asks, read from a listing of it
    python_home     Python environments in a root
    rule            rules, what they look at, and findings
    image_rules     of manifest and config
    system_rules    of the operating system
    python_rules    of the cluster's Python, from 9.0
    conda_rules     of the cluster's Python, up to 8.x
    contract        all rules, and `check`

Nothing is unpacked or run, and rules are pure functions. The sources of every rule are Databricks' pages and the
recipes of its own images (github.com/databricks/containers); `docs/dcs.md` has the table.
"""

from mlflow_dbimage.dcs_contract.cluster_root import ClusterRoot, is_wanted, read_cluster_root
from mlflow_dbimage.dcs_contract.contract import RULES, check
from mlflow_dbimage.dcs_contract.rule import Finding, Rule, Subject

__all__ = ["RULES", "ClusterRoot", "Finding", "Rule", "Subject", "check", "is_wanted", "read_cluster_root"]
