"""How a Databricks job reaches the model: a small distribution in the cluster's own Python.

    dbimage_launcher   what runs there, on Python 3.8 and newer: imports the standard library alone
    distribution       the files of the distribution, as entries of a layer

The model's environment lies beside the cluster's Python, which stays as the base has it: a Python wheel task finds
its entry point among the distributions of the cluster's Python, and this one starts the image's scoring program.
"""
