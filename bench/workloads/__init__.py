"""The five workloads of the paper, offline: what each is, how it is run, and what must come out."""
