-- Introspects each token once and keeps the answer for ever, in as few lines as it takes. It looks
-- at no path, strips no spoofed header, has no bound and knows no expiry.
local is_active = {}

function envoy_on_request(handle)
  local authorization = handle:headers():get("authorization") or ""
  if is_active[authorization] == nil then
    local _, body = handle:httpCall("as", {
      [":method"] = "POST", [":path"] = "PATH", [":authority"] = "as.test",
      ["authorization"] = "Basic YmVuY2g6YmVuY2gtc2VjcmV0",
      ["content-type"] = "application/x-www-form-urlencoded",
    }, "token=" .. authorization:sub(8), 5000)
    is_active[authorization] = body:find('"active":true', 1, true) ~= nil
  end
  if not is_active[authorization] then return handle:respond({[":status"] = "401"}, "") end
  handle:headers():remove("authorization")
end
