"""The catalogue of Databricks Runtimes: data files, a file a runtime, and their reader."""

from mlflow_dbimage.runtimes.catalogue import Catalogue
from mlflow_dbimage.runtimes.dcs_image import DcsImage
from mlflow_dbimage.runtimes.runtime import Runtime

__all__ = ["Catalogue", "DcsImage", "Runtime"]
