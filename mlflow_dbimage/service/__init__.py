"""Registry events become builds, and builds become images; everything behind the webhook's door.

    events        what a registry says: a version was created, an alias or a tag set
    deliveries    whether an event is from the registry that shares our secret
    rules         which event builds what
    build         one build and its states
    database      the tables, and transactions that are right under many processes; `shared_commits` of one process
    builds        what may happen to a build, each as one transaction: the truth; `build_reader` only looks
    build_logs    what builds say while they run
    retention     which logs and deliveries go, and when
    build_queue   huey's storage, which carries ids and nothing else
    intake        event to queued build, in one call
    model_updates which versions a run of a Databricks job is for; `builder_job` is that job
    worker        takes builds from the queue and runs each in a process of its own
    outage_notes  what the operator is told of what is away

The queue may forget, the workers may die: what the table says is made true again by the next sweep.
"""
