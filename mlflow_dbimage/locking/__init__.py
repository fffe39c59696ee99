"""What `locked_env` is made with: the values of a lock, its files, who owns what, and the protocols of its tools.

locked_packages       conda packages, wheels and decisions, as values
field_checks          whether the fields of a lock that somebody else wrote have the form that we write
wheel_choice          which wheel of a distribution fits a Python, a platform and a glibc
package_owners        which distribution conda and pip both bring, and who has it
path_owners           which path two packages bring, and who has it
kept_wheels           what the wheels of a golden base become in an environment on top of it
local_versions        which further indexes the local versions of some lines need
exact_packages        packages as a list names them, and what comes nearest to those that cannot be had
environment_solver    what solvers, fetchers and installers are asked, and what they answer
pinned_distributions  what an index has in given versions, and which of them it lacks
wheel_places          where an index has the wheels that a base was built with
pip_part              pip's part of a lock, resolved and settled against conda's
exact_wheels          wheels as a list names them, and what comes nearest to those that cannot be had
lock_files            the two standard files, and our own record
lock_inputs           the key under which a lock is remembered
"""
