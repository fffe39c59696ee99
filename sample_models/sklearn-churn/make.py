"""A scikit-learn classifier with MLflow's own requirements: the full `mlflow`, as most models have it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import mlflow.sklearn
import pandas
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

REQUIREMENTS = ("mlflow", "cloudpickle", "numpy", "pandas", "scikit-learn", "scipy")
CONTRACTS = ("month-to-month", "one-year", "two-year")


def training_data() -> pandas.DataFrame:
    """Customers of a telephone company; who leaves follows a rule: the model is the same each time."""
    customers = pandas.DataFrame(
        {
            "tenure_months": [7 * n % 72 for n in range(300)],
            "monthly_charges": [20.0 + 11 * n % 90 for n in range(300)],
            "contract": [CONTRACTS[n % 3] for n in range(300)],
        }
    )
    bound = customers["contract"].map({"month-to-month": 0, "one-year": 25, "two-year": 50})
    leaves = customers["tenure_months"] + bound < customers["monthly_charges"] / 2
    return customers.assign(churn=leaves.map({True: "leaves", False: "stays"}))


def make(directory: Path) -> None:
    data = training_data()
    features, target = data.drop(columns="churn"), data["churn"]
    columns = make_column_transformer(
        (OneHotEncoder(), ["contract"]), (StandardScaler(), ["tenure_months", "monthly_charges"])
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(features, target)
    mlflow.sklearn.save_model(
        model,
        directory,
        signature=infer_signature(features, model.predict(features)),
        input_example=features.head(3),
        serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_CLOUDPICKLE,
        # What MLflow would find out by loading the model; said here, because that takes it ten seconds.
        pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
    )
