"""The contract of Databricks Container Services: what a cluster of a runtime needs of an image, as rules.

    rule            rules, what they look at, and findings
    image_rules     of manifest and config
    system_rules    of the operating system
    python_rules    of the cluster's Python, from 9.0
    conda_rules     of the cluster's Python, up to 8.x
    contract        all rules, and `check`

Rules are pure functions of an image and of what `cluster_roots` reads of its root. The sources of every rule are
Databricks' pages and the recipes of its images (github.com/databricks/containers); `docs/dcs.md` has the table.
"""

from mlflow_dbimage.dcs_contract.contract import RULES, check
from mlflow_dbimage.dcs_contract.rule import Finding, Rule, Subject

__all__ = ["RULES", "Finding", "Rule", "Subject", "check"]
