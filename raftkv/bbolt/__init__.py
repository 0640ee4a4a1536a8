"""Reading bbolt files: etcd's database, its snapshots and ours. Nothing in a file is believed."""
