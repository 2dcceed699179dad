














local ab,L,as=0,1,2
local aM,aL,aW,aN=1,2,3,4
local S,aK,at=0,1,2

local call,z,Q=redis.call,math.floor,math.ceil
local F,u=struct.pack,struct.unpack

local aP=redis.call('TIME')
local P=aP[1]*1000000+aP[2]
local f=z(P/1000)


local aF,aX=ARGV[1],#ARGV[1]
local j,aw=u('B',aF)
local ar,ap={},1
for a=1,#KEYS do
local al
al,aw=u('<H',aF,aw)
if al>0 then
ar[a]=call('HMGET',KEYS[a],unpack(ARGV,ap+1,ap+al))
ap=ap+al
end
end

local ah=true
local V
local aq,U
local O,H,q


repeat
local aO=false
O,H,q=nil,nil,nil
aq,U={'\1','',''},1
local aG=aw
while aG<=aX do
local N,aU,am,a,ay,aC,ao,aS,d,b,h,y
N,aU,am,a,ay,aC,ao,aS,d,b,h,y,aG=
u('<BBBHHHHHdddd',aF,aG)
local D=aK


local A=ao>0 and ar[ao][aS]
if A then
local Y,ag=string.match(A,'^(%w+) (%d+)$')
Y=Y or string.match(A,'^%w+$')
if not ag or f<ag+0 then
V=V or{}
V[ao]=true
if Y=='unlimited'then
D=at
elseif Y and string.find(Y,'^%d+$')then
d=math.min(Y+0,N==aN and 10000 or 1000000000,z(9007199254740992/b))
end
end
end




local l,J,I=ay>0 and ar[a][ay],nil,nil
local t=am==0 and h or am==1 and 1 or 4*h
local x=ah and h>0
local r,Z,K,af=0,0,0,0

if D==at or d<0 then
D,d,x=at,0,false

elseif d==0 and j~=L then
D,Z,K,x=S,b,b,false

elseif N==aN then


local E,g,X,n,v,c=0,0,0,0,0,0
local ad=call('GETRANGE',KEYS[a],0,28)
if#ad==29 then
E,g,X,n,v,c=u('<I7I7I6I3I3I3',ad)
if v>=n or c>n then E,g,X,n,v,c=0,0,0,0,0,0 end
end




local aa,s,ae,aD,ax,ak=b*1000,0,nil,0,'',0
local T=j==L and y-1 or P+aa
repeat
local ai=not ae and(j==L or g>T)
if j~=L and not ai then T=P-aa end
if E>T then
s=0
elseif g<=T then
s=c
else
local aB,aI,aQ=c-1,1,g
s,aD=1,E
while s<aB do
local aH=math.min(s+aI-1,z((s+aB)/2))
local w=(v+aH)%n*7
if w<ak or w+7>ak+#ax then
ax,ak=call('GETRANGE',KEYS[a],w+29,w+252),w
end
local k=u('<I7',ax,w-ak+1)
if k>T then
aB,aQ=aH,k
else
s,aI,aD=aH+1,aI*2,k
end
end
if not ai then E=aQ end
end
if ai then
ae=s
if j==L then T=y else c,g=s,aD end
end
until not ai

local i,A,m,aj=g>P and g or P,c-s,'',false
if j==L then
x=x and s>ae
A,aj=c,true
else
af,r=i,d-A
if j==ab and t>r then
D,K=S,b
if t<=d then
local k=E
if t>r+1 then
local w=(v+s+t-r-1)%n*7
k=u('<I7',call('GETRANGE',KEYS[a],w+29,w+35))
end
K=Q((k+aa-P)/1000)
end
elseif x then
if A==0 then E=i end
g,c,v=i,A+h,(v+s)%n
m=string.rep(F('<I7',i),h)
aj=c>n or c*4<n
end
if g>P-aa then Z=Q((g+aa-P)/1000)end
end
if x and D==aK then
local aA,M=(v+A)%n*7,nil
if aj then

if A>0 then
local aE=call('GETRANGE',KEYS[a],v*7+29,(v+A)*7+28)
if v+A>n then aE=aE..call('GETRANGE',KEYS[a],29,aA+28)end
m=aE..m
end
if j==L then
m=string.sub(m,1,ae*7)..string.sub(m,math.min(s,ae+h)*7+1)
c=#m/7
E,g=0,0
if c>0 then E,g=u('<I7',m),u('<I7',m,#m-6)end
else
n=math.max(c,math.min(d,z(c*1.5)+2))
end
v,m=0,m..string.rep('\0',(n-c)*7)
end
local aV=Q((g+aa)/1000)
if aV>=X then

X=aV+z(b/16)
M=X-f
end
ad,H=F('<I7I7I6I3I3I3',E,g,X,n,v,c),H or{}
if aj then
H[#H+1]={a,M,nil,ad..m}
else

local aR=n*7-aA
H[#H+1]={a,M,aA+29,ad..string.sub(m,aR+1),string.sub(m,1,aR)}
end
end

elseif j==L then

if not x or not l then
x=false
elseif N==aM and#l==12 then
local o,c=u('<I6I6',l)
if o==y then J=F('<I6I6',o,c>h and c-h or 0)end
elseif N==aL and#l==18 then
local B,p,G=u('<I6I6I6',l)
if B==y then
J=F('<I6I6I6',B,p>h and p-h or 0,G)
elseif B==y+1 then
J=F('<I6I6I6',B,p,G>h and G-h or 0)
end
elseif N==aW and#l==13 then
local k,e=u('<I6I7',l)
if k>=y and k<=f+b then
local i=k>f and k or f
local aJ=h*b-(i-y)*d
e=e-(i-k)*d
if aJ>0 and e>0 then
J=F('<I6I7',i,e>aJ and e-aJ or 0)
end
end
end

elseif N==aM then
local o,c=nil,0
if l and#l==12 then
o,c=u('<I6I6',l)
if o+b<=f or o>f+b then o,c=nil,0 end
end
o=o or y<0 and f or f-(f-y)%b
local C=o+b-f
af,r=o,d-c
if j==ab and t>r then
D,K=S,t<=d and C or b
elseif x then
if c==0 then I=C end
c=c+h
if j==as then c=math.min(c,z(9007199254740992/b))end
J=F('<I6I6',o,c)
end
Z=c>0 and C or 0

elseif N==aL then
local B,p,G=z(f/b),0,0
if l and#l==18 then
local g,i,av=u('<I6I6I6',l)
if g==B or g==B+1 then
B,p,G=g,i,av
elseif g==B-1 then
G=i
end
end
local C=(B+1)*b-f
local az=d-p
af,r=B,az-Q(G*(C<b and C or b)/b)
if j==ab and t>r then
D=S
if t>d then
K=b
elseif t<=az then
K=C-z((az-t)*b/G)
else
K=C+b-z((d-t)*b/p)
end
elseif x then
if p==0 then I=C+b end
p=p+h
if j==as then p=math.min(p,z(9007199254740992/b))end
J=F('<I6I6I6',B,p,G)
end
Z=p>0 and C+b or G>0 and C or 0

else
local ac=y>0 and y or d
local i,e=f,0
if l and#l==13 then
local k,av=u('<I6I7',l)
if k<=f+b then
i=k>f and k or f
e=av-(i-k)*d
if e<0 then e=0 end
end
end
if am==2 and h>0 then
e=math.max(e,math.min(1000,z(math.min(ac,d)*b/(20*d)))*d)
end
af,r=i,z((ac*b-e)/b)
if j==ab and t>r then
D,K=S,b
if t<=ac then K=Q((e-(ac-t)*b)/d)+(i-f)end
elseif x then
e=e+h*b
if j==as then e=math.min(e,9007199254740992)end
J=F('<I6I7',i,e)
I=Q(e/d)+(i-f)
end
Z=e>0 and Q(e/d)+(i-f)or 0
d=ac
end

if D==S then
if aU==0 and j==ab then ah=false end
elseif x then
aO=true
r=r-h
if J then
O=O or{}
local an=O[a]
if an then
local aT=#an
an[aT+1],an[aT+2]=ARGV[aC],J
else
O[a]={ARGV[aC],J}
end
end
if I then
q=q or{}
if I>(q[a]or 0)then q[a]=I end
end
end
U=U+1
aq[U]=F('<BI7I7I7I7I7',D,d,r>0 and r or 0,Z,K,af)
end
until ah or not aO

if not ah then aq[1]='\0'end
if j==L then U=1 end


local R
if V or q then
for a=1,#KEYS do
local I=q and q[a]
if V and V[a]then
if I then q[a]=nil end
if call('PTTL',KEYS[a])>=0 then
R=R or{}
R[#R+1]=a
end
elseif I then
local M=call('PTTL',KEYS[a])
if M>=I then
q[a]=nil
elseif M==-1 and ar[a]then
local au=call('HGETALL',KEYS[a])
for W=1,#au,2 do
if string.find(au[W],':override$')then
local ag=string.match(au[W+1],'^%w+ (%d+)$')
if not ag or f<ag+0 then q[a]=nil end
end
end
end
end
end
end


if O then
for a=1,#KEYS do
if O[a]then call('HSET',KEYS[a],unpack(O[a]))end
end
end
if H then
for W=1,#H do
local a,M,w,o,aY=unpack(H[W],1,5)
if w then
call('SETRANGE',KEYS[a],0,o)
call('SETRANGE',KEYS[a],w,aY)
else
call('SET',KEYS[a],o,'KEEPTTL')
end
if M then call('PEXPIRE',KEYS[a],M)end
end
end
if q then
for a=1,#KEYS do
if q[a]then call('PEXPIRE',KEYS[a],q[a])end
end
end
if R then
for W=1,#R do call('PERSIST',KEYS[R[W]])end
end
return table.concat(aq,'',1,U)
