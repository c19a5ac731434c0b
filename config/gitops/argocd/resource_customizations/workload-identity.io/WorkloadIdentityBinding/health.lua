-- kstatus: observedGeneration, Ready, and Stalled only while a person must act. A drift check that fails for a
-- moment leaves Ready true.
local hs = { status = "Progressing", message = "Waiting for the operator" }
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return hs
end
for _, condition in ipairs(obj.status.conditions or {}) do
  if condition.type == "Ready" then
    hs.message = condition.message
    if obj.spec.suspend then
      hs.status = "Suspended"
    elseif condition.status == "True" then
      hs.status = "Healthy"
    end
  elseif condition.type == "Stalled" and condition.status == "True" then
    hs.status = "Degraded"
  end
end
if obj.metadata.deletionTimestamp ~= nil then
  hs.deletionMessage = hs.message
end
return hs
