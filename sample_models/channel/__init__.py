"""How the packages of the local conda channel are made; `sample_models.conda_channel` makes the channel.

package         what a conda package is, and how it is written
interpreters    `python` packages, from interpreters of this machine
libraries       packages of the shared libraries that those interpreters need
wheels          packages from pinned wheels: pip, setuptools, wheel and others
runtime_list    the packages of a Databricks Runtime, by its own names, versions and builds
demonstrations  small packages that exist to show something
"""
