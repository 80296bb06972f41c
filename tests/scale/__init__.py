"""Several machines, played by processes of this one: an object store, a Ray cluster, Milvus and replicas together."""
