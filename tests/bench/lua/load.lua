-- wrk's script: sends the same head with one token after the other, over and over. The first
-- argument is the file of the head without its end, the second that of the tokens, one a line.
local requests, next = {}, 0

function init(arguments)
  local head = io.open(arguments[1]):read("*a")
  for token in io.lines(arguments[2]) do
    requests[#requests + 1] = head .. "Authorization: Bearer " .. token .. "\r\n\r\n"
  end
end

function request()
  next = next % #requests + 1
  return requests[next]
end

function done(summary)
  local e = summary.errors
  io.write(string.format('\nbench {"requests": %d, "microseconds": %d, "errors": [%d, %d, %d, %d, %d]}\n',
    summary.requests, summary.duration, e.connect, e.read, e.write, e.status, e.timeout))
end
