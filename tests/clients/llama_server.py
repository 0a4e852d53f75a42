"""llama.cpp's own HTTP server on a free port, as a process: `python llama_server.py MODEL.gguf`.

Prints its base address as one line when the model is loaded, and serves until its standard input ends, so
that it never outlives the test that started it.
"""

import sys

import xllamacpp


def main(model: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.port = 0
    params.n_ctx = 512
    params.n_parallel = 2
    params.warmup = False
    params.cpuparams.n_threads = 1
    params.n_threads_http = 2
    params.verbosity = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


main(sys.argv[1])
