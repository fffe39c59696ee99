"""What clusters look at in the root of an image, as values that rules of the contract are held against.

    cluster_root    what a root has, as far as the contract asks, read from a listing of it
    python_home     Python environments in a root
    root_part       which part of each layer that is

Nothing is unpacked or run.
"""

from mlflow_dbimage.cluster_roots.cluster_root import ClusterRoot, is_wanted, read_cluster_root

__all__ = ["ClusterRoot", "is_wanted", "read_cluster_root"]
