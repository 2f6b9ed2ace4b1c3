// node's `ws`: rooms as a Map of Sets, each message encoded once. No sessions, no users. node ws.cjs PORT
const { createServer } = require("http");
const { WebSocketServer } = require("ws");

const topics = new Map();

function members(topic) {
  if (!topics.has(topic)) topics.set(topic, new Set());
  return topics.get(topic);
}

function hear(socket, message) {
  if (message.type === "message") {
    const data = Buffer.from(JSON.stringify(message));
    for (const each of members(message.topic)) if (each.readyState === 1) each.send(data, { binary: false });
  } else if (message.type === "echo") {
    socket.send(JSON.stringify(message));
  } else if (message.type === "join") {
    members(message.topic).add(socket);
    socket.joined.add(message.topic);
    socket.send(JSON.stringify({ type: "joined", topic: message.topic }));
  }
}

const http = createServer();
new WebSocketServer({ server: http, perMessageDeflate: false }).on("connection", (socket) => {
  socket.joined = new Set();
  socket.on("message", (data) => hear(socket, JSON.parse(data)));
  socket.on("close", () => socket.joined.forEach((topic) => members(topic).delete(socket)));
});
http.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096 });
