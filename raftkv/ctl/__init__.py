"""raftctl: the command line client, with etcdctl's verbs, flags and output."""
