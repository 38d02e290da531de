"""Makes graphs by dask.distributed: dask-graphs.py PROCESSES THREADS

Each line of stdin is the path of a graph; each line of stdout its time in ms and the results of its
last nodes. The first line says that the workers are there. It ends with its stdin.
"""

import json
import logging
import sys
import time


def data_of(count):
    return list(range(count))


def slice_of(data, start, size):
    return sum(data[start : start + size])


def sum_of(inputs, more, modulus):
    return (sum(inputs) + more) % modulus


def graph_of(described, prefix):
    """A graph of dask: a task by its name, which begins with `prefix`, as that of no other graph."""
    graph = {}
    for at, (work, argument, sources) in enumerate(described["nodes"]):
        names = [prefix + str(source) for source in sources]
        if work == "data":
            task = (data_of, argument)
        elif work == "slice":
            task = (slice_of, names[0], argument, described["sizeOfSlice"])
        else:
            task = (sum_of, names, argument, described["modulus"])
        graph[prefix + str(at)] = task
    return graph


def answer(value):
    print(json.dumps(value), flush=True)


def main():
    from distributed import Client, LocalCluster

    processes, threads = int(sys.argv[1]), int(sys.argv[2])
    with LocalCluster(
        n_workers=processes,
        threads_per_worker=threads,
        processes=True,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
    ) as cluster, Client(cluster) as client:
        client.wait_for_workers(processes)
        answer("ready")
        for number, line in enumerate(sys.stdin):
            with open(line.strip()) as file:
                described = json.load(file)
            prefix = "g" + str(number) + "-"
            graph = graph_of(described, prefix)
            last = [prefix + str(at) for at in described["last"]]
            began = time.perf_counter()
            results = client.get(graph, last)
            answer({"ms": (time.perf_counter() - began) * 1000, "results": results})


if __name__ == "__main__":
    main()
