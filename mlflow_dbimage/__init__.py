"""Container images of registered MLflow models.

Data flows one way; each step is a module named for the noun it makes:

    model_reference -> model_spec -> runtime_match -> base_image -> locked_env
        -> packed_env -> model_layers -> model_image -> destinations -> build_receipt

`pipeline` alone knows the order. `oci` knows images and nothing of models, `backends` is everything that
starts a program or talks to a service, `scoring` runs inside the images. The doors (the `mlflow` and
`dbimage` commands) are in the package `plugin_entrypoints`.
"""

__version__ = "0.1.0"
