// socket.io's rooms. No sessions, no users. node socketio.cjs PORT
const { createServer } = require("http");
const { Server } = require("socket.io");

const http = createServer();
const io = new Server(http, { perMessageDeflate: false });
io.on("connection", (socket) => {
  socket.on("join", (data, answer) => {
    socket.join(data.topic);
    answer({ status: "ok" });
  });
  socket.on("message", (data) => io.to(data.topic).emit("new:message", data));
  socket.on("echo", (data, answer) => answer(data));
});
http.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096 });
