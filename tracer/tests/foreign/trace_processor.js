// Runs Perfetto's own trace processor outside a browser: node trace_processor.js BUNDLE < requests > replies
// The bundle is the web worker of the Perfetto UI; requests and replies are TraceProcessorRpcStreams.
const fs = require('fs'), path = require('path'), vm = require('vm');

const bundle = process.argv[2];
const beside = (url) => path.join(path.dirname(bundle), path.basename(url));
const replies = [];
const worker = {
  TextDecoder, TextEncoder, URL, performance, crypto, setTimeout, clearTimeout,
  console: { log() {}, warn: console.error, error: console.error },
  location: { href: 'file:///' }, WorkerGlobalScope: class {},
  // It asks for nothing but its WebAssembly.
  XMLHttpRequest: class {
    open(_method, url) { this.url = url; }
    send() { this.response = fs.readFileSync(beside(this.url)); }
  },
};
worker.self = worker;
vm.runInContext(fs.readFileSync(bundle, 'utf8'), vm.createContext(worker), { filename: bundle });
const port = { postMessage: (bytes) => replies.push(Buffer.from(bytes)) };
worker.onmessage({ data: port });
// Once it has told itself that it is ready.
setTimeout(() => {
  const requests = vm.runInContext('bytes => new Uint8Array(bytes)', worker)(fs.readFileSync(0));
  port.onmessage({ data: requests });
  fs.writeSync(1, Buffer.concat(replies));
});
