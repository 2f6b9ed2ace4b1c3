/** What `onError` of a socket is told when the server said why it refuses the connection. */
export class RefusedError extends Error {
  /**
   * @param {object} response  what the server said
   */
  constructor(response) {
    const reason = typeof response.reason === "string" && response.reason ? response.reason : "refused";
    super(`the connection was refused: ${reason}`);
    this.name = "RefusedError";
    this.reason = reason;
    this.response = response;
  }
}
