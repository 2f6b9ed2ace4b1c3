/**
 * Whether the server wants to hear no more of what it refused: a join, or the connection.
 *
 * @param {any} response
 */
export function isFinal(response) {
  return response?.retry === false;
}
