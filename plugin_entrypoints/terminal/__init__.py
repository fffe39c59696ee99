"""Results as lines for people: a module a noun. Doors print them; nothing here prints.

columns     lines and columns: sizes, tables, facts and notes, of which all other texts are made
receipts    what was built or is deployed: images of models, and golden bases
plans       the plan of a build: which model, on which base, with which packages
runtimes    runtimes, and how they fit: their facts, and every pin held against them
verdicts    what was found out about an image: its proof, the contract of clusters, known vulnerabilities
"""

from plugin_entrypoints.terminal.columns import facts, notes, size, table
from plugin_entrypoints.terminal.plans import plan
from plugin_entrypoints.terminal.receipts import base_receipt, deployment, receipt
from plugin_entrypoints.terminal.runtimes import fit, fit_facts, pins, runtime, support
from plugin_entrypoints.terminal.verdicts import image, proof, reproduction, scan, verification

__all__ = [
    "base_receipt",
    "deployment",
    "facts",
    "fit",
    "fit_facts",
    "image",
    "notes",
    "pins",
    "plan",
    "proof",
    "receipt",
    "reproduction",
    "runtime",
    "scan",
    "size",
    "support",
    "table",
    "verification",
]
