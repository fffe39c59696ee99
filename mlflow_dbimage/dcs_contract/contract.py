"""All rules of the contract, and how an image is held against them."""

from __future__ import annotations

from mlflow_dbimage.dcs_contract import conda_rules, image_rules, python_rules, system_rules
from mlflow_dbimage.dcs_contract.rule import Finding, Rule, Subject

#: In the order in which a cluster would come to them.
RULES: tuple[Rule, ...] = (*image_rules.RULES, *system_rules.RULES, *python_rules.RULES, *conda_rules.RULES)


def check(subject: Subject) -> tuple[Finding, ...]:
    """Hold an image against every rule of the contract that concerns it."""
    findings = (rule.apply(subject) for rule in RULES)
    return tuple(finding for finding in findings if finding is not None)
